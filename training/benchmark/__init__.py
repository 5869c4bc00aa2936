# SPDX-License-Identifier: Apache-2.0
"""The public benchmark for pose editing, which anything that turns a pose and a sentence into a pose can enter.

``cases`` has what is asked and what is checked, ``scoring`` judges answers (``collision``: whether the body cuts
through itself), ``results`` is the one file format that an entry is, with its checksums, ``rows`` compares entries,
``contamination`` tells whether cases stand in what a model was trained on, ``chatting`` has a chat model write joint
rotations, and ``cli`` is ``posellava benchmark``. numpy alone: neither torch nor a GPU is needed to enter. May import
training.evaluate, training.data.rewriting and backend.
"""
