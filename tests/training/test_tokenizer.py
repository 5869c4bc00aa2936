# SPDX-License-Identifier: Apache-2.0
"""How a sentence is said does not reach mini; what it says does."""

from __future__ import annotations

import json

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from backend.engines import SHIPPED_MODEL
from training.stages.vocabulary import word_piece_tokenizer

PIECES = ["raise", "the", "left", "arm", "could", "you", "look", "pleased", "please", "pls", "plz", *".,?!:"]


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("RAISE the left arm!!", "raise the left arm . ."),
        ("Please raise the left arm.", "raise the left arm ."),
        ("please, raise the left arm", "raise the left arm"),
        ("Could you please raise the left arm?", "could you raise the left arm ?"),
        ("raise, pls, the left arm", "raise the left arm"),
        ("raise the left arm, plz!", "raise the left arm ."),
        ("please", ""),
        ("look pleased, left arm", "look pleased , left arm"),
    ],
)
def test_neither_case_nor_loudness_nor_politeness_is_read(said: str, read: str) -> None:
    assert word_piece_tokenizer(PIECES).tokenize(said) == read.split()


def test_politeness_between_a_task_and_a_pose_leaves_both() -> None:
    tokenizer = word_piece_tokenizer(PIECES)
    assert tokenizer("raise: please look <pose>")["input_ids"] == tokenizer("raise: look <pose>")["input_ids"]


def test_the_shipped_model_reads_sentences_as_a_new_one_does() -> None:
    def normalizer(tokenizer: PreTrainedTokenizerFast) -> object:
        return json.loads(tokenizer.backend_tokenizer.to_str())["normalizer"]

    assert normalizer(AutoTokenizer.from_pretrained(SHIPPED_MODEL)) == normalizer(
        word_piece_tokenizer(PIECES)
    )
