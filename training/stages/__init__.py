# SPDX-License-Identifier: Apache-2.0
"""The three stages of training with DeepSpeed, for both sizes of the model, and the export of what they made.

``settings`` is what a YAML file may say; ``initialise`` makes the model that training starts from, with ``vocabulary``
and ``minilm``; ``released`` makes one of the paper's checkpoint; ``training_data`` opens the samples, ``batches`` turns
them into tensors, ``workers`` does so in processes of their own; ``losses`` and ``objectives`` say what is minimised,
``stages`` what differs between the stages; ``loop`` runs it, with ``launch`` (processes and DeepSpeed),
``checkpoints``, ``validation`` and ``training_log`` (what ``meter`` and ``by_task`` measure, bar, ``curves``);
``export`` writes the finished model.

May import training.data, training.run_lock, backend.model, backend.body and blender_addon.contract.
"""
