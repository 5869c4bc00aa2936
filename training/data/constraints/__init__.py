# SPDX-License-Identifier: Apache-2.0
"""Poses from constraints: the least change of a start pose that meets measures on points of the body.

``points`` names places on the body, ``measures`` are numbers about them, ``prior`` holds limits and spreads fitted on
recorded poses, ``solver`` turns joints until measures lie in their ranges. Knows no words; imports backend.body and
blender_addon.contract only.
"""
