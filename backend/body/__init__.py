# SPDX-License-Identifier: Apache-2.0
"""The body on the backend's side: rotations and forward kinematics in torch, meshes, and drawing them.

May import: torch, numpy, blender_addon.contract. Never imports backend.model, backend.server or training.
"""
