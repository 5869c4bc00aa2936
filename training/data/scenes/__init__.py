# SPDX-License-Identifier: Apache-2.0
"""Pictures of several people and words that tell one of them, after ChatPose's reasoning-based pose estimation.

``drawing`` draws scenes: two or three figures who differ in clothes, size and what they do. ``telling`` says of one of
them what holds of no other: place, outfit, shape, behaviour, pose, or several of these. ``scenes.yaml`` holds the words
and what they stand for. ChatPose's own questions are asked of photographs of 3DPW; see ``sources.described_people``.
"""
