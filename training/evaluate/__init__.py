# SPDX-License-Identifier: Apache-2.0
"""Measuring the model: benchmarks, baselines and metrics (``posellava eval``), and scoring of instructions.

``benchmarks`` builds the cases from poses, ``contestants`` answers them (the model, and the baselines beside it),
``metrics`` measures answers, ``embeddings`` and ``retrieval`` turn poses and words into vectors for recall,
``bootstrap`` gives intervals, ``scoring`` brings these together and ``report`` and ``pictures`` show the outcome.
``instructions`` scores edits by what the words say, and ``cases`` holds handwritten ones. ``cli`` parses arguments.
May import backend and the rest of training.
"""
