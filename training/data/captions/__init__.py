# SPDX-License-Identifier: Apache-2.0
"""The language of poses by rule: describing a pose, and telling how to get from one pose to another.

``measures`` takes numbers from thousands of poses at once, ``facts`` makes categories of them, ``caption`` selects,
joins and words the facts of one pose, ``correction`` the differences of two. All thresholds and all wording stand
in ``rules.yaml``, which ``rules`` reads. After PoseScript (Delmas et al. 2022) and PoseFix (Delmas et al. 2023).
"""
