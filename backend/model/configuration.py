# SPDX-License-Identifier: Apache-2.0
"""The configuration of PoseLLaVA: LLaVA-NeXT's with the pose modules' sizes and forms."""

from __future__ import annotations

from dataclasses import field
from typing import Literal

from huggingface_hub.dataclasses import strict
from transformers import LlavaNextConfig

PoseDecoderForm = Literal["mlp", "transformer", "residual"]
PoseFeatures = Literal["local", "rows", "kinematic"]
PoseNorm = Literal["before", "after"]
PoseState = Literal["token", "predicting"]
PoseWorld = Literal["y_up", "y_down"]


@strict
class PoseLlavaConfig(LlavaNextConfig):  # type: ignore[misc]
    """LLaVA-NeXT's configuration and the pose modules'.

    Attributes:
        pose_token_index: id of the ``<pose>`` placeholder.
        pose_output_token_index: id of ``<POSE>``.
        pose_features: what the encoder reads of each joint: ``local``, its local rotation in 6D (the paper), ``rows``,
            the first two rows of its local rotation matrix instead of its columns (the paper's public code), or
            ``kinematic``, its local and global rotation in 6D and its position.
        pose_norm: where the pose encoder's layers are normed: ``before`` each block and once at the end, or ``after``
            each block (the paper's public code).
        pose_hidden_size: width of the pose encoder (and of the stage-1 modules).
        pose_encoder_layers, pose_attention_heads, pose_intermediate_size: the pose encoder's transformer.
        pose_decoder: ``mlp`` (ChatPose and the paper's public code), ``transformer`` (the paper's text) or
            ``residual``: joint queries that see the initial pose and the prompt, and predict for each joint a
            rotation relative to it and a gate.
        pose_decoder_hidden_size, pose_decoder_layers: the transformer of the latter two forms.
        pose_state: which hidden state is decoded: the ``token``'s own (the paper), or the one at the position
            that is ``predicting`` it (the paper's public code).
        pose_world: which way +y goes in the poses that the encoder reads and the decoder writes: ``y_up``, as
            everywhere here, or ``y_down``, as in the paper's public data. What enters and leaves the model has +y up.
        vision_stem: channels of the convolutions beside CLIP's patch embedding; none for CLIP as it is.
        vision_stem_blocks: residual blocks after each of these; none without a number.
        pose_history: whether the residual decoder sees the pose before the last turn, and may go back to it.
        pose_variants: how many other answers the model has to offer beside its own, with the residual decoder.
        pose_variants_hidden_size: width of what makes them.
        pose_view_rank: rank of what is added to the weights for words about the camera, with a text encoder; 0 where
            the model has no weights of their own for them.
        wish_width: width of what each part of the head sees that tells, with a text encoder, which words ask for
            nothing that a body can do; 0 where the first token of the answer alone tells it.
        text_encoder_layers: of the encoder that reads each instruction by itself; 0 for none.
        text_encoder_hidden_size, text_encoder_attention_heads, text_encoder_intermediate_size, text_encoder_positions:
            its sizes, those of MiniLM but for the length.
        sees_patches: whether the model has a vision tower, its projector and the modules of stage 1; without them
            pictures are read by the pose reader alone.
        pose_reader: whether the model has a reader of the poses that images show, which fills ``<seen_pose>``; without
            it stage 1's decoder does.
    """

    model_type = "pose_llava"

    pose_token_index: int = 32001
    pose_output_token_index: int = 32002
    pose_features: PoseFeatures = "local"
    pose_norm: PoseNorm = "before"
    pose_hidden_size: int = 512
    pose_encoder_layers: int = 6
    pose_attention_heads: int = 4
    pose_intermediate_size: int = 1024
    pose_decoder: PoseDecoderForm = "mlp"
    pose_decoder_hidden_size: int = 512
    pose_decoder_layers: int = 2
    pose_state: PoseState = "token"
    pose_world: PoseWorld = "y_up"
    vision_stem: list[int] = field(default_factory=list)
    vision_stem_blocks: list[int] = field(default_factory=list)
    pose_history: bool = False
    pose_variants: int = 0
    pose_variants_hidden_size: int = 256
    pose_view_rank: int = 0
    wish_width: int = 0
    text_encoder_layers: int = 0
    text_encoder_hidden_size: int = 384
    text_encoder_attention_heads: int = 12
    text_encoder_intermediate_size: int = 1536
    text_encoder_positions: int = 176
    sees_patches: bool = True
    pose_reader: bool = False
