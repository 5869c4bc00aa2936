# SPDX-License-Identifier: Apache-2.0
"""``make demo``: the main job from end to end, in headless Blender, with the model that ships.

``run`` builds the extension, starts the backend and calls ``scene`` in a Blender of its own; ``scene`` installs the
extension and presses its buttons; ``sheet`` puts the renders on one page; ``steps`` are the instructions.
"""
