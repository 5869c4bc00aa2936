# SPDX-License-Identifier: Apache-2.0
"""The PoseLLaVA model, the engine that answers with it, and the server that offers it.

May import blender_addon.contract.
"""
