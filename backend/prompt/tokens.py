# SPDX-License-Identifier: Apache-2.0
"""Text to token ids, and what users type without a checkpoint's special tokens."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tokenizers import Tokenizer

from .templates import (
    EARLIER_POSE_PLACEHOLDER,
    IMAGE_PLACEHOLDER,
    POSE_OUTPUT,
    POSE_PLACEHOLDER,
    SEEN_POSE_PLACEHOLDER,
)

TOKENIZER_FILE: Final = "tokenizer.json"
TOKENIZER_SETTINGS_FILE: Final = "tokenizer_config.json"
_SPACED_STOP: Final = re.compile(r" +(?=[.,;:!?)])")
_HYPHEN: Final = re.compile(r" ([-']) ")
_SENTENCE: Final = re.compile(r"(^|[.!?] )([a-z])")
_MARKS: Final = "<>[]/|"
"""What marks a special token as one; without it the token is a plain word."""


class PromptTokenizer:
    """A checkpoint's tokenizer.

    Args:
        tokenizer: cuts the text.
        special: its special tokens, in any order; bos, eos and pad are among them.
        bos, eos, pad: the tokens that begin a prompt, end a text and fill a batch.
    """

    def __init__(self, tokenizer: Tokenizer, special: Sequence[str], *, bos: str, eos: str, pad: str) -> None:
        self._tokenizer = tokenizer
        normalizer = tokenizer.normalizer
        self._lower = normalizer is not None and bool(normalizer.normalize_str("A") == "a")
        self.bos_id, self.eos_id, self.pad_id = (self.id_of(token) for token in (bos, eos, pad))
        placeholders = (
            IMAGE_PLACEHOLDER,
            POSE_PLACEHOLDER,
            SEEN_POSE_PLACEHOLDER,
            EARLIER_POSE_PLACEHOLDER,
            POSE_OUTPUT,
        )
        every = sorted({*special, *placeholders}, key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, every)))

    @classmethod
    def load(cls, folder: Path) -> PromptTokenizer:
        """The tokenizer in a folder that ``save_pretrained`` wrote.

        Raises:
            FileNotFoundError: it is not there.
            ValueError: a file of it is damaged.
        """
        try:
            tokenizer = Tokenizer.from_str((folder / TOKENIZER_FILE).read_text(encoding="utf-8"))
            settings = json.loads((folder / TOKENIZER_SETTINGS_FILE).read_text(encoding="utf-8"))
            names = {key: settings[f"{key}_token"] for key in ("bos", "eos", "pad")}
        except OSError:
            raise FileNotFoundError(
                f"{folder} has no tokenizer ({TOKENIZER_FILE} and {TOKENIZER_SETTINGS_FILE}): "
                "copy or download the model again"
            ) from None
        except Exception as error:  # tokenizers raises plain Exception where the file is not as it expects
            raise ValueError(
                f"the tokenizer in {folder} is damaged ({error}): copy or download the model again"
            ) from None
        # One that is set up for training may cut and pad; a prompt is neither.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        special = [token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special]
        return cls(tokenizer, special, **names)

    def id_of(self, token: str) -> int:
        """The id of a token. Raises ValueError where there is none."""
        found: int | None = self._tokenizer.token_to_id(token)
        if found is None:
            raise ValueError(f"the tokenizer has no token {token}")
        return found

    @property
    def size(self) -> int:
        """How many tokens there are."""
        size: int = self._tokenizer.get_vocab_size()
        return size

    @property
    def placeholder_ids(self) -> list[int]:
        """The tokens at whose places poses and images enter."""
        found = map(self._tokenizer.token_to_id, (POSE_PLACEHOLDER, IMAGE_PLACEHOLDER))
        return [token for token in found if token is not None]

    def vocabulary(self) -> dict[str, int]:
        """Every token and its id."""
        vocabulary: dict[str, int] = self._tokenizer.get_vocab()
        return vocabulary

    def ids(self, text: str) -> list[int]:
        """The ids of a text, in which special tokens are what they are."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def ids_and_starts(self, text: str) -> tuple[list[int], list[int]]:
        """The ids of a text and where in it each token begins."""
        encoded = self._tokenizer.encode(text, add_special_tokens=False)
        return encoded.ids, [start for start, _ in encoded.offsets]

    def said(self, ids: Sequence[int]) -> str:
        """What tokens say: special ones left out but ``<POSE>``, which stays where it is.

        A tokenizer that knows no capitals gets one at the beginning of each sentence. A text begins as its beginning
        does, so that it can be shown while it grows; what is not whole yet ends in U+FFFD.
        """
        output = self.id_of(POSE_OUTPUT)
        parts: list[list[int]] = [[]]
        for token in ids:
            if token == output:
                parts.append([])
            else:
                parts[-1].append(token)
        text = f" {POSE_OUTPUT} ".join(map(self._decoded, parts)).strip()
        text = _SPACED_STOP.sub("", text)
        return _SENTENCE.sub(lambda found: found[1] + found[2].upper(), text) if self._lower else text

    def _decoded(self, ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        if self._tokenizer.decoder is None:  # word pieces as they are
            text = _HYPHEN.sub(r"\1", text.replace(" ##", ""))
        return text.strip(" ")

    def words_only(self, text: str) -> str:
        """The text with every special token in it reduced to a plain word, however deep one lies in another."""
        while self._special.search(text):
            text = self._special.sub(_unmarked, text)
        return text

    def cut(self, text: str, tokens: int) -> str:
        """The beginning of the text that is at most so many tokens long."""
        offsets = self._tokenizer.encode(text, add_special_tokens=False).offsets
        return text if len(offsets) <= tokens else text[: offsets[tokens - 1][1]]


def _unmarked(match: re.Match[str]) -> str:
    word = match.group().strip(_MARKS)
    return word if word != match.group() else ""
