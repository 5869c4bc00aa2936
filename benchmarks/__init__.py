# SPDX-License-Identifier: Apache-2.0
"""``make bench``: every other file here is a program that measures something of the shipped product.

Each prints one JSON object a line, with ``name``, ``value`` and ``unit`` and whatever else belongs to the figure, and
is run alone, so that nothing else disturbs it. ``python -m benchmarks [NAME …]`` runs all, or those named.
"""
