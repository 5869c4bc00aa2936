# SPDX-License-Identifier: Apache-2.0
"""The paper's tables 2 to 5 as commands: contestants trained in one run, measured alike, beside the paper's numbers.

``baselines`` and ``forms`` are what is trained, ``contestants`` trains and keeps one set for all tables, ``tables``
measures, ``paper`` holds what the paper reports and claims, ``report`` writes. May import training.data,
training.evaluate, training.stages and backend.
"""
