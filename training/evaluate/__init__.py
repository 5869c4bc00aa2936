# SPDX-License-Identifier: Apache-2.0
"""Measuring the model: metrics, benchmarks, baselines and scoring of instructions. May import backend."""
