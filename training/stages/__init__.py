# SPDX-License-Identifier: Apache-2.0
"""The three stages of training with DeepSpeed, for both sizes of the model, and the export of what they made.

``settings`` is what a YAML file may say; ``initialise`` makes the model that training starts from; ``batches`` turns
samples into tensors; ``losses`` and ``objectives`` say what is minimised; ``loop`` runs it, with ``launch``
(processes and DeepSpeed), ``checkpoints``, ``journal`` (logs, bar, curves); ``export`` writes the finished model.

May import training.data, training.claim, backend.model, backend.body and blender_addon.contract.
"""
