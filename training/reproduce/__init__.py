# SPDX-License-Identifier: Apache-2.0
"""PoseLLaVA's tables 2 to 5 and ChatPose's 1 to 3 as commands: contestants trained in one run, measured alike, beside
the papers' numbers.

``baselines`` and ``forms`` are what is trained, ``contestants`` trains and keeps one set for all tables. ``tables``
measures PoseLLaVA's, ``paper`` holds what it reports and claims, ``report`` writes; ``chatpose`` measures and tells
ChatPose's, ``chatpose_paper`` holds what that reports. ``cli`` is ``posellava reproduce``. May import training.data,
training.evaluate, training.stages and backend.
"""
