# SPDX-License-Identifier: Apache-2.0
"""The engines: queries in, poses and words out, many at a time, the same from each.

``onnx`` answers on a CPU and is what ships; ``torch`` answers on a GPU too, with every size of model, and is what
training measures with. ``choice`` picks one. What both do is written once: ``viewing`` asks about who is in a
picture (``people``) and where the camera is, ``speaking`` says answers in words, ``answers`` makes answers of what a
model says. Only ``torch`` needs torch, and is imported only when it is chosen. May import backend.prompt,
backend.query, backend.graph_files, backend.weight_files, backend.memory and blender_addon.contract, and ``torch`` alone
backend.model and backend.body.
"""

from .choice import ENGINES, SHIPPED_MODEL, Engine, load_engine

__all__ = ["ENGINES", "SHIPPED_MODEL", "Engine", "load_engine"]
