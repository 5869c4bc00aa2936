# SPDX-License-Identifier: Apache-2.0
"""Teaches a trained model to speak of poses, without touching what it does with them, and measures what it says.

``samples`` draws poses and pairs of poses with plain words, ``reading`` teaches a voice's readers which facts hold of
them, ``teaching`` is a whole run, in which copies of the last layers learn to say these facts. ``measure`` holds what
is said against the pose, ``pictures`` draws poses with their words, and ``cli`` is ``posellava train-speech`` and
``measure-speech``. May import training.data, training.evaluate, training.stages.settings, training.added_part and
backend.
"""
