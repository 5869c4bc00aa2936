# SPDX-License-Identifier: Apache-2.0
"""Sentences written by hand, with what they ask of the pose as constraints, and the samples that are drawn from them.

``sentences/*.yaml`` are the patterns, a file or a folder a kind; their format stands in ``loading``. ``language``
reads the constraints, ``numbers`` draws the numbers in a sentence, ``saying`` its words, ``starts`` holds poses to ask
it of, ``solving`` hands constraints to the solver, ``drafts`` solves what a turn asks, ``check`` tries every pattern.
May import constraints, directives and sources.
"""
