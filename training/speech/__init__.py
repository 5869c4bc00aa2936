# SPDX-License-Identifier: Apache-2.0
"""Teaches a trained model to speak of poses, without touching what it does with them, and measures what it says.

``samples`` draws poses and pairs of poses with plain words, ``teaching`` trains copies of the last layers to say them,
``measure`` holds what is said against the pose, and ``cli`` is ``posellava train-speech`` and ``measure-speech``. May
import training.data, training.evaluate, training.stages.settings and backend.
"""
