# SPDX-License-Identifier: Apache-2.0
"""PoseLLaVA: LLaVA-NeXT that also reads poses at ``<pose>`` and writes them at ``<POSE>``.

Legend: B rows of a batch, L their length, P poses read (``<pose>`` placeholders, row-major), Q poses written
(``<POSE>`` tokens, row-major), J = 24 joints, H = hidden size, D = pose_hidden_size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlavaNextForConditionalGeneration, LlavaNextModel, LlavaNextPreTrainedModel
from transformers import initialization as init
from transformers.models.llava_next.modeling_llava_next import image_size_to_num_patches
from transformers.utils import ModelOutput

from backend.body.rotations import (
    apply_heading,
    axis_angle_to_matrix,
    matrix_to_rot6d,
    rot6d_to_matrix,
    split_heading,
)
from backend.prompt import NUM_POSE_TOKENS
from backend.prompt.pictures import CANVAS_SIDE
from blender_addon.contract.skeleton import NUM_JOINTS, STANDING_POSE

from .alignment import INITIAL_LOGIT_BIAS, INITIAL_LOGIT_SCALE, PoseImageAlignment, Resampler
from .configuration import PoseLlavaConfig
from .pose_decoder import (
    IDENTITY_6D,
    DecodedPose,
    FromZero,
    PoseContext,
    ResidualPoseDecoder,
    RotationHead,
    TransformerPoseDecoder,
    pose_decoder,
)
from .pose_encoder import PoseEncoder, PoseProjector
from .pose_reader import MapHead, PoseReader
from .text_encoder import TextEncoder, TextProjector
from .text_head import TextHead
from .variants import PoseVariants
from .view import PoseView, ViewWeights
from .vision_stem import StemmedVisionModel

EMBEDDING_STD = 0.3
"""Spread of learned queries and positions: about as large as what is added to them, so that joints differ at once."""
WISH_MIXED_WIDTH = 32
"""Of the head that hears when nothing is asked."""
STANDING_ROT6D = matrix_to_rot6d(axis_angle_to_matrix(torch.tensor(STANDING_POSE))).unsqueeze(0)
"""(1, J, 6) the initial pose where the prompt holds none."""


@dataclass
class PoseLlavaOutput(ModelOutput):  # type: ignore[misc]
    """What a forward pass yields.

    Attributes:
        text_loss: mean cross-entropy over the labelled positions, where labels were given.
        logits: (B, L, vocabulary), or without the row structure (N, vocabulary), the N labelled positions only.
        first_logits: (B, vocabulary) of the answer's first token, where its position was given.
        view_logits: (T,) with them, how surely each text is tied to the camera, where the model has a head for that.
        wish_logits: (T,) the same of how surely each text asks for nothing.
        pose_matrices: (Q, J, 3, 3) decoded local rotations, every gate taken as open. With ``every_part`` there is one
            where no pose is asked for, too, which means nothing.
        gate_logits: (Q, J), from the residual decoder: positive where the joint is to turn.
        variant_matrices: (Q, K, J, 3, 3) other answers, where they are wished for and the model has them: joints whose
            gate is closed at their initial rotation, likeliest first.
        initial_matrices: (Q, J, 3, 3) the poses that were edited.
        past_key_values: the cache, for generation.
        hidden_states: (B, L, H) of the last layer.
    """

    text_loss: Tensor | None = None
    logits: Tensor | None = None
    first_logits: Tensor | None = None
    view_logits: Tensor | None = None
    wish_logits: Tensor | None = None
    pose_matrices: Tensor | None = None
    gate_logits: Tensor | None = None
    variant_matrices: Tensor | None = None
    initial_matrices: Tensor | None = None
    past_key_values: Any = None
    hidden_states: Tensor | None = None

    def gated_matrices(self) -> Tensor:
        """(Q, J, 3, 3) the answer: joints whose gate is closed keep their initial rotation exactly."""
        assert self.pose_matrices is not None
        if self.gate_logits is None:
            return self.pose_matrices
        assert self.initial_matrices is not None
        return torch.where((self.gate_logits > 0)[..., None, None], self.pose_matrices, self.initial_matrices)


@dataclass
class AlignmentOutput(ModelOutput):  # type: ignore[misc]
    """Stage 1's tokens: global (B, D), local (B, J, D), and the poses (B, J, 3, 3) decoded from either's tokens.

    ``attention`` (B, J, N) is how much each joint's token looks at each of the image's patches, row by row.

    Every field is given; the defaults are there because the library allows one without.
    """

    pose_global: Tensor = None  # type: ignore[assignment]
    image_global: Tensor = None  # type: ignore[assignment]
    pose_local: Tensor = None  # type: ignore[assignment]
    image_local: Tensor = None  # type: ignore[assignment]
    attention: Tensor = None  # type: ignore[assignment]
    reconstruction: Tensor = None  # type: ignore[assignment]
    image_reconstruction: Tensor = None  # type: ignore[assignment]
    logit_scale: Tensor = None  # type: ignore[assignment]
    logit_bias: Tensor = None  # type: ignore[assignment]


class PoseLlavaPreTrainedModel(LlavaNextPreTrainedModel):  # type: ignore[misc]
    """What the backbone and the whole model share: configuration and initialisation."""

    config_class = PoseLlavaConfig
    # The scales of matrices in int8 (see ``storage``) are no weights of their own.
    _keys_to_ignore_on_load_unexpected = (r"\.scale$",)
    config: PoseLlavaConfig

    def _init_weights(self, module: nn.Module) -> None:
        """The library's initialisation and the pose modules' own parameters."""
        super()._init_weights(module)
        if isinstance(module, RotationHead):
            init.copy_(module.bias, torch.tensor(IDENTITY_6D))
        elif isinstance(module, PoseEncoder):
            init.normal_(module.joint_position, std=EMBEDDING_STD)
            init.normal_(module.global_token, std=EMBEDDING_STD)
        elif isinstance(module, (TransformerPoseDecoder, ResidualPoseDecoder, Resampler)):
            init.normal_(module.queries, std=EMBEDDING_STD)
        elif isinstance(module, PoseVariants):
            init.normal_(module.manners, std=EMBEDDING_STD)
        elif isinstance(module, ViewWeights):
            for name, weight in module.named_parameters():
                if name.endswith("/down"):
                    init.normal_(weight, std=weight.shape[1] ** -0.5)
                else:
                    init.zeros_(weight)
        elif isinstance(module, TextEncoder):
            init.normal_(module.places, std=self.config.text_config.initializer_range)
        elif isinstance(module, FromZero):
            init.zeros_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, PoseImageAlignment):
            init.normal_(module.decoder_queries, std=EMBEDDING_STD)
            init.constant_(module.logit_scale, INITIAL_LOGIT_SCALE)
            init.constant_(module.logit_bias, INITIAL_LOGIT_BIAS)
        elif isinstance(module, MapHead):
            # What the trunk sees is large: as drawn, positions would be off by tens of metres.
            init.zeros_(module.weight)


class PoseLlavaModel(PoseLlavaPreTrainedModel, LlavaNextModel):  # type: ignore[misc]
    """LLaVA-NeXT's backbone with the pose encoder and its projector, and with the stem that is set."""

    vision_tower: Any  # CLIP's, or any other that gives the same output.

    def __init__(self, config: PoseLlavaConfig) -> None:
        super().__init__(config)
        if config.vision_stem or config.vision_stem_blocks:
            self.vision_tower = StemmedVisionModel(
                config.vision_config, config.vision_stem, config.vision_stem_blocks
            )
        self.pose_encoder = PoseEncoder(config)
        self.pose_projector = PoseProjector(config)
        self.text_encoder: TextEncoder | None = None
        if config.text_encoder_layers:
            self.text_encoder = TextEncoder(config)
            self.text_projector = TextProjector(config)
        if not config.sees_patches:
            del self.vision_tower, self.multi_modal_projector, self.image_newline
        self.post_init()

    def embed_with_poses(
        self,
        input_ids: Tensor,
        poses: Tensor | None,
        text_states: Tensor | None = None,
        text_places: Tensor | None = None,
        *,
        every_part: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Word embeddings (B, L, H) with each pose's 25 tokens at its placeholder and, where there is a text encoder,
        what it says of each instruction's words (T, N, E); and Z_local (P, J, D).

        Raises:
            ValueError: the number of placeholders is not 25 for each pose.
        """
        embeds: Tensor = self.get_input_embeddings()(input_ids)
        if text_states is not None and text_places is not None:
            # Words that were generated meanwhile are of no instruction.
            text_places = functional.pad(
                text_places, (0, input_ids.shape[1] - text_places.shape[1]), value=-1
            )
            embeds = embeds + self.text_projector.added(text_states, text_places).to(embeds.dtype)
        places = input_ids == self.config.pose_token_index
        expected = 0 if poses is None else len(poses) * NUM_POSE_TOKENS
        if int(places.sum()) != expected:
            raise ValueError(f"the batch has {int(places.sum())} <pose> tokens, its poses need {expected}")
        if poses is None and not every_part:
            return embeds, None
        read = STANDING_ROT6D.to(embeds.device) if poses is None else poses
        pose_global, pose_local = self.pose_encoder(read.to(embeds.dtype))
        tokens = self.pose_projector(torch.cat([pose_global.unsqueeze(1), pose_local], dim=1))
        if poses is None:
            return embeds + 0.0 * tokens.sum().to(embeds.dtype), None
        return embeds.masked_scatter(places.unsqueeze(-1), tokens.to(embeds.dtype)), pose_local

    def forward(self, *args: Any, blank_image: bool = False, **kwargs: Any) -> Any:
        """LLaVA-NeXT's; with ``blank_image`` a white image is looked at too, of which nothing comes but gradients of
        zero."""
        if blank_image:
            embeds = kwargs["inputs_embeds"]
            kwargs["inputs_embeds"] = embeds + 0.0 * self._white_features(embeds).to(embeds.dtype)
        return super().forward(*args, **kwargs)

    def _white_features(self, like: Tensor) -> Tensor:
        """The sum of what the projector makes of a white image."""
        side = self.config.vision_config.image_size
        tiles = image_size_to_num_patches((side, side), self.config.image_grid_pinpoints, side)
        white = like.new_ones(1, tiles, 3, side, side)
        seen = self.get_image_features(
            white, torch.tensor([[side, side]], device=like.device), return_dict=True
        )
        # The library looks the placeholder's embedding up to find where an image goes: that, too, is a part that runs.
        self.get_input_embeddings()(torch.tensor(self.config.image_token_index, device=like.device))
        total: Tensor = torch.cat(list(seen.pooler_output)).sum()
        return total


class PoseLlavaForConditionalGeneration(
    PoseLlavaPreTrainedModel,
    LlavaNextForConditionalGeneration,  # type: ignore[misc]
):
    """The whole model: words, image and pose in; words and poses out."""

    def __init__(self, config: PoseLlavaConfig) -> None:
        # Not LlavaNext's own constructor: it would build its own backbone first.
        super(LlavaNextForConditionalGeneration, self).__init__(config)
        self.model = PoseLlavaModel(config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.pose_decoder = pose_decoder(config)
        self.variants = PoseVariants(config) if config.pose_variants else None
        self.alignment = PoseImageAlignment(config) if config.sees_patches else None
        self.pose_reader = PoseReader() if config.pose_reader else None
        self.view = (
            PoseView(self, config.text_encoder_hidden_size, config.pose_view_rank)
            if config.pose_view_rank
            else None
        )
        self.wish = (
            TextHead(config.text_encoder_hidden_size, config.wish_width, WISH_MIXED_WIDTH)
            if config.wish_width
            else None
        )
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        pixel_values: Tensor | None = None,
        image_sizes: Tensor | None = None,
        poses: Tensor | None = None,
        pose_images: Tensor | None = None,
        canvases: Tensor | None = None,
        texts: Tensor | None = None,
        text_places: Tensor | None = None,
        answer_at: Tensor | None = None,
        labels: Tensor | None = None,
        past_key_values: Any = None,
        logits_to_keep: int | Tensor | None = 0,
        every_part: bool = False,
        blank_canvas: bool = False,
        with_variants: bool = False,
        **kwargs: Any,
    ) -> PoseLlavaOutput:
        """One pass over the batch.

        Args:
            input_ids: (B, L).
            attention_mask: (B, L), 0 on padding.
            pixel_values, image_sizes: as for LLaVA-NeXT.
            poses: (P, J, 6) rot6d, one for each ``<pose>``, heading removed.
            pose_images: (P,) the image that a pose is read from in the place of the one in ``poses``, or -1; None
                where all are given. Answers to a pose that is read are turned to its heading.
            canvases: (images, 3, 256, 256) the images as the pose reader sees them; needed where it is to read one.
            texts: (T, N) every instruction by itself, and text_places: (B, L) where each token of the prompt is among
                these, or -1; where there is a text encoder.
            answer_at: (B,) where the answers begin, for ``first_logits``.
            labels: (B, L) the ids to predict, -100 where none is; logits are then made there only.
            past_key_values: cache of earlier tokens; poses are decoded in passes without one only.
            logits_to_keep: how many of the last positions get logits (0: all); None: no logits.
            every_part: run what reads images, reads poses and writes poses even where the rows have none of them, with
                gradients of zero. Processes that train together need that: their collectives must be the same.
            blank_canvas: likewise read a pose off a blank image, where another process has one to be read.
            with_variants: also make the other answers that the model has to offer.

        Raises:
            ValueError: placeholders and poses or images do not match.
        """
        if input_ids is None:
            raise ValueError("PoseLLaVA needs input_ids: poses are placed by their placeholders")
        headings: Tensor | None = None
        if pose_images is not None and poses is not None and bool((pose_images >= 0).any()):
            poses, headings = self._with_seen_poses(poses, pose_images, pixel_values, canvases)
        elif blank_canvas:
            self._see_nothing(input_ids.device)
        if self.model.text_encoder is not None and texts is None and input_ids.shape[1] > 1:
            raise ValueError("this model has a text encoder: give texts and text_places too")
        states = None
        if self.model.text_encoder is not None and texts is not None:
            states = self.model.text_encoder(texts)
        embeds, pose_local = self.model.embed_with_poses(
            input_ids, poses, states, text_places, every_part=every_part
        )
        shows_patches = bool((input_ids == self.config.image_token_index).any())
        backbone = self.model(
            inputs_embeds=embeds,
            attention_mask=attention_mask,
            pixel_values=pixel_values if shows_patches else None,
            image_sizes=image_sizes,
            past_key_values=past_key_values,
            blank_image=every_part and self.config.sees_patches and not shows_patches,
            **kwargs,
        )
        hidden: Tensor = backbone.last_hidden_state
        output = PoseLlavaOutput(past_key_values=backbone.past_key_values, hidden_states=hidden)
        if answer_at is not None:
            self._begin_answers(output, hidden, answer_at, states, texts)
        if labels is not None:
            wanted = labels[:, 1:] != -100
            output["logits"] = self.lm_head(hidden[:, :-1][wanted])
            output["text_loss"] = functional.cross_entropy(output["logits"].float(), labels[:, 1:][wanted])
        elif logits_to_keep is not None:
            kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
            output["logits"] = self.lm_head(hidden[:, kept])
        asks = input_ids == self.config.pose_output_token_index
        if every_part and not bool(asks.any()):
            asks[0, 0] = True
        if bool(asks.any()) and (past_key_values is None or hidden.shape[1] > 1):
            context, chosen = self._pose_context(input_ids, attention_mask, hidden, poses, pose_local, asks)
            # The standing pose, which comes last, has no heading.
            yaw = None if headings is None else functional.pad(headings, (0, 1))[chosen]
            self._decode_poses(output, context, yaw, with_variants)
        return output

    def _begin_answers(
        self,
        output: PoseLlavaOutput,
        hidden: Tensor,
        answer_at: Tensor,
        states: Tensor | None,
        texts: Tensor | None,
    ) -> None:
        """Puts out what each answer (B,) may begin with and, where the model tells it apart, how surely the words are
        tied to the camera and ask for nothing; ``states``: the text encoder's of ``texts``."""
        rows = torch.arange(len(hidden), device=hidden.device)
        output["first_logits"] = self.lm_head(hidden[rows, answer_at - 1])
        if states is None or texts is None:
            return
        assert self.model.text_encoder is not None
        is_word = texts != self.model.text_encoder.padding
        if self.view is not None:
            output["view_logits"] = self.view.asks(states, is_word)
        if self.wish is not None:
            output["wish_logits"] = self.wish(states, is_word)

    def _decode_poses(
        self, output: PoseLlavaOutput, context: PoseContext, yaw: Tensor | None, with_variants: bool
    ) -> None:
        """Puts out a pose for each ``<POSE>`` and, if asked for, others; turned by ``yaw`` (Q,), where there is one."""
        decoded: DecodedPose = self.pose_decoder(context)
        matrices, initial = decoded.matrices, context.initial
        variants = None
        if with_variants and self.variants is not None:
            assert decoded.thoughts is not None
            assert decoded.gate_logits is not None
            moves = decoded.gate_logits > 0
            answer = torch.where(moves[..., None, None], matrices, initial)
            variants = self.variants.ranked(decoded.thoughts, context.state, answer, moves)
        if yaw is not None:
            matrices, initial = apply_heading(yaw, matrices), apply_heading(yaw, initial)
            if variants is not None:
                variants = apply_heading(yaw.unsqueeze(1), variants)
        output["pose_matrices"] = matrices
        output["initial_matrices"] = initial
        if variants is not None:
            output["variant_matrices"] = variants
        if decoded.gate_logits is not None:
            output["gate_logits"] = decoded.gate_logits

    def _see_nothing(self, device: torch.device) -> None:
        """Runs what reads poses off images, for its collectives alone."""
        with torch.no_grad():
            if self.pose_reader is not None:
                self.pose_reader.look_closely(
                    torch.zeros(1, 3, CANVAS_SIDE, CANVAS_SIDE, device=device, dtype=self.dtype)
                )
            elif self.alignment is not None:
                side = self.config.vision_config.image_size
                image_global, image_local, _ = self._image_tokens(
                    torch.ones(1, 3, side, side, device=device, dtype=self.dtype)
                )
                self.alignment.reconstruct(image_global, image_local)

    def _pose_context(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        hidden: Tensor,
        poses: Tensor | None,
        pose_local: Tensor | None,
        asks: Tensor,
    ) -> tuple[PoseContext, Tensor]:
        """Gathers, for each ``<POSE>``, its state and the last pose before it in its row, or the standing pose, and
        that pose's number (Q,) among ``poses``, the standing pose after the last. ``asks`` (B, L): where these are."""
        rows, columns = asks.nonzero(as_tuple=True)
        at = columns - 1 if self.config.pose_state == "predicting" else columns
        positions = torch.arange(input_ids.shape[1], device=input_ids.device)
        prompt_hidden = positions > columns.unsqueeze(1)
        if attention_mask is not None:
            prompt_hidden = prompt_hidden | (attention_mask[rows] == 0)

        # The standing pose is appended to the poses read, as the initial pose of those who have none.
        standing_rot6d = STANDING_ROT6D.to(hidden.device)
        _, standing_local = self.model.pose_encoder(standing_rot6d.to(hidden.dtype))
        states = hidden.new_zeros(1, NUM_JOINTS, hidden.shape[-1])
        if poses is None or pose_local is None:
            all_poses, all_local = standing_rot6d, standing_local
            chosen = earlier = torch.zeros_like(rows)
        else:
            places = input_ids == self.config.pose_token_index
            pose_states = hidden[places].reshape(len(poses), NUM_POSE_TOKENS, -1)[:, 1:]
            all_poses = torch.cat([poses.float(), standing_rot6d])
            all_local = torch.cat([pose_local, standing_local])
            states = torch.cat([pose_states, states])
            in_row = places.long().cumsum(1) // NUM_POSE_TOKENS  # (B, L) poses complete up to each position
            per_row = in_row[:, -1]
            before = in_row[rows, columns]
            first = per_row.cumsum(0) - per_row
            chosen = torch.where(before > 0, first[rows] + before - 1, len(poses))
            earlier = torch.where(before > 1, chosen - 1, chosen)
        matrices = rot6d_to_matrix(all_poses)
        context = PoseContext(
            state=hidden[rows, at],
            prompt=hidden[rows],
            prompt_hidden=prompt_hidden,
            initial=matrices[chosen],
            initial_tokens=all_local[chosen],
            initial_states=states[chosen],
            earlier=matrices[earlier],
            earlier_tokens=all_local[earlier],
        )
        return context, chosen

    @torch.no_grad()
    def _with_seen_poses(
        self, poses: Tensor, pose_images: Tensor, pixel_values: Tensor | None, canvases: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Poses (P, J, 6) with those that are read from an image, by the pose reader or else by stage 1's decoder, and
        the headings (P,), relative to the camera, that were taken out of these; see ``forward``. Nothing is learnt
        through them: reading is stage 1's lesson, and a process without pictures has no such gradients."""
        reads = pose_images >= 0
        images = pose_images[reads]
        if self.pose_reader is not None:
            if canvases is None:
                raise ValueError("a pose is to be read from an image: give canvases too")
            seen = self.pose_reader.look_closely(canvases[images].to(self.dtype))
        else:
            if pixel_values is None:
                raise ValueError("a pose is to be read from an image: give pixel_values too")
            image_global, image_local, _ = self._image_tokens(pixel_values[images, 0])
            seen = self._stage1().reconstruct(image_global, image_local)
        yaw, upright = split_heading(seen)
        given, headings = poses.float().clone(), poses.new_zeros(len(poses))
        given[reads], headings[reads] = matrix_to_rot6d(upright), yaw
        return given, headings

    def _image_tokens(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Stage 1's tokens of images (B, 3, height, width): global (B, D), local (B, J, D), and the latter's attention
        (B, J, N)."""
        stage1 = self._stage1()
        vision = self.model.vision_tower(pixels)
        image_local, attention = stage1.resampler(vision.last_hidden_state[:, 1:])
        return stage1.image_global(vision.pooler_output), image_local, attention

    def _stage1(self) -> PoseImageAlignment:
        if self.alignment is None:
            raise ValueError(
                "this model has no vision tower and no modules of stage 1 (sees_patches): start from one that has"
            )
        return self.alignment

    def align(self, pixel_values: Tensor, poses: Tensor) -> AlignmentOutput:
        """Stage 1: tokens of images and of the poses that they show.

        Args:
            pixel_values: (B, tiles, 3, height, width); the first tile is the whole image.
            poses: (B, J, 6) rot6d, heading relative to the camera.
        """
        image_global, image_local, attention = self._image_tokens(pixel_values[:, 0])
        pose_global, pose_local = self.model.pose_encoder(poses.to(pixel_values.dtype))
        stage1 = self._stage1()
        return AlignmentOutput(
            pose_global=pose_global,
            image_global=image_global,
            pose_local=pose_local,
            image_local=image_local,
            attention=attention,
            reconstruction=stage1.reconstruct(pose_global, pose_local),
            image_reconstruction=stage1.reconstruct(image_global, image_local),
            logit_scale=stage1.logit_scale,
            logit_bias=stage1.logit_bias,
        )

    def prepare_inputs_for_generation(
        self, *args: Any, is_first_iteration: bool = False, **kwargs: Any
    ) -> dict[str, Any]:
        """Poses and texts, like images, are placed in the first pass; the cache carries them afterwards."""
        kwargs.pop("answer_at", None)  # What is generated is not one of the fixed answers.
        placed = {name: kwargs.pop(name, None) for name in ("poses", "texts", "text_places")}
        inputs: dict[str, Any] = super().prepare_inputs_for_generation(
            *args, is_first_iteration=is_first_iteration, **kwargs
        )
        if is_first_iteration or not kwargs.get("use_cache", True):
            inputs |= placed
        return inputs
