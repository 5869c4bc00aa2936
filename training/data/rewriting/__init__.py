# SPDX-License-Identifier: Apache-2.0
"""Rewording instructions by a chat model, as the paper does with GLM-4.

``chat`` talks to any model behind an OpenAI-compatible address, ``rewriter`` asks it about texts and remembers what it
said. What it is told to do stands in ``prompt.txt`` and, of descriptions that become situations, in
``situations.txt``. Standard library only for the network.
"""
