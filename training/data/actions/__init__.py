# SPDX-License-Identifier: Apache-2.0
"""Poses asked for without describing them: by what somebody does (``actions``) or is in (``situations``).

``actions`` words the labels of recorded clips, ``situations`` has a table of everyday situations with postures that
fit them, after ChatPose's speculative pose generation (Feng et al. 2024). The words stand in the two YAML files.
"""
