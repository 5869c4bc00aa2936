# SPDX-License-Identifier: Apache-2.0
"""Directives: what animators type, with the pose that it asks for, constructed geometrically.

``posed_body`` turns joints, ``kinds`` registers what can be asked, one module for each family holds the geometry,
``wording`` and its YAML files hold the sentences, ``sampler`` draws finished samples.
"""
