# SPDX-License-Identifier: Apache-2.0
"""The engines: queries in, poses and words out, many at a time, the same from each.

``onnx`` answers on a CPU and is what ships; ``torch`` answers on a GPU too, with every size of model, and is what
training measures with. ``choice`` picks one, ``answers`` is what both do with what a model says. Only ``torch`` needs
torch, and is imported only when it is chosen. May import backend.prompt, backend.query, backend.model (``torch`` alone)
and blender_addon.contract.
"""

from .choice import ENGINES, SHIPPED_MODEL, Engine, load_engine

__all__ = ["ENGINES", "SHIPPED_MODEL", "Engine", "load_engine"]
