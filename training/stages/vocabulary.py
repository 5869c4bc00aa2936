# SPDX-License-Identifier: Apache-2.0
"""The words of a small model: a cut of MiniLM's word pieces with their embeddings, and the tokenizer of these."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from backend.prompt import IMAGE_PLACEHOLDER, POSE_OUTPUT, POSE_PLACEHOLDER

from .minilm import minilm_folder

SPECIAL_TOKENS: Final = ("<pad>", "<unk>", "<s>", "</s>", POSE_PLACEHOLDER, IMAGE_PLACEHOLDER, POSE_OUTPUT)
_PIECE: Final = re.compile(r"(##)?([a-z]+|[0-9]{1,3})")
_WORD: Final = re.compile(r"[a-z]+")
_DATA_FOLDER: Final = Path(__file__).parents[1] / "data"


@dataclass(frozen=True)
class WordPieces:
    """Word pieces and an embedding (N, E) of each."""

    pieces: list[str]
    embeddings: npt.NDArray[np.float32]


def minilm_pieces(count: int) -> WordPieces:
    """The most frequent English pieces of MiniLM's vocabulary, every single character, and every whole word that the
    project's own wording uses; with their embeddings (N, 384)."""
    folder = minilm_folder()
    vocabulary = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
    wording = words_of_the_data()
    characters = [
        index
        for index, piece in enumerate(vocabulary)
        if len(piece.removeprefix("##")) == 1 and piece.isascii() and piece.isprintable()
    ]
    needed = [index for index, piece in enumerate(vocabulary) if piece in wording]
    frequent = [
        index for index, piece in enumerate(vocabulary) if _PIECE.fullmatch(piece)
    ]  # in order of frequency
    chosen = sorted(list(dict.fromkeys([*characters, *needed, *frequent]))[:count])
    with safe_open(folder / "model.safetensors", framework="np") as file:
        table = file.get_tensor("embeddings.word_embeddings.weight")
    return WordPieces([vocabulary[index] for index in chosen], table[chosen].astype(np.float32))


def words_of_the_data() -> set[str]:
    paths = [*_DATA_FOLDER.rglob("*.yaml"), *_DATA_FOLDER.rglob("*.py")]
    return {word for path in paths for word in _WORD.findall(path.read_text(encoding="utf-8").lower())}


def principal_components(table: npt.NDArray[np.float32], width: int) -> Tensor:
    """(N, E) to (N, width): the first principal components, scaled to a root mean square of one."""
    centred = table - table.mean(axis=0)
    if width > table.shape[1]:
        raise ValueError(
            f"the hidden size {width} is more than the {table.shape[1]} dimensions of the word embeddings"
        )
    _, axes = np.linalg.eigh(centred.T @ centred)
    reduced = centred @ axes[:, ::-1][:, :width]
    return torch.from_numpy(np.ascontiguousarray(reduced / np.sqrt((reduced**2).mean())))


def word_piece_tokenizer(pieces: Sequence[str]) -> PreTrainedTokenizerFast:
    """A lower-casing word-piece tokenizer; the special tokens come first."""
    vocabulary = {token: index for index, token in enumerate([*SPECIAL_TOKENS, *pieces])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="<unk>", max_input_chars_per_word=40))
    # However loudly or politely it is said, it is the same pose.
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.BertNormalizer(lowercase=True),
            normalizers.Replace("!", "."),
            normalizers.Replace(Regex(r"[\s,]*\b(?:please|pls|plz)\b,?"), ""),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=[POSE_PLACEHOLDER, IMAGE_PLACEHOLDER, POSE_OUTPUT],
    )
