# SPDX-License-Identifier: Apache-2.0
"""Makes the model and measures it: data, the three stages, evaluation.

May import backend and blender_addon.contract.
"""
