# SPDX-License-Identifier: Apache-2.0
"""Test cases of natural wording, written by hand and never trained on, and the poses they start from.

``handwritten.jsonl`` holds the cases, ``starts.py`` the constructed start poses, ``build.py`` joins the two into
the format that ``training.evaluate.instructions`` scores. May import blender_addon.contract and numpy only.
"""
