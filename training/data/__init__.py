# SPDX-License-Identifier: Apache-2.0
"""Pairs of words and poses: pose sources, the language of poses, samples and rendering.

May import training.run_lock, training.yaml_file, backend and blender_addon.contract; never training.stages or
training.evaluate.
"""
