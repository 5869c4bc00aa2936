# SPDX-License-Identifier: Apache-2.0
"""What each stage minimises, and how well it does: from a batch to weighted terms and to measures.

The terms a stage can have are the keys of its configuration's ``losses``. Legend: Q poses, J = 24 joints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Shard
from torch.nn import functional

from backend.body.kinematics import forward_kinematics
from backend.body.rotations import geodesic_angle, matrix_to_rot6d
from backend.model import PoseLlavaForConditionalGeneration, PoseLlavaOutput

from . import losses
from .batches import Batch
from .parts import AlignmentTask, Stage1Output

MOVES_RADIANS: Final = 0.01
"""A joint moves when its target is more than this from its initial rotation."""


@dataclass(frozen=True)
class _Poses:
    """What a pose term may look at; matrices (Q, J, 3, 3).

    ``composed`` takes the decoded rotation where the joint is to move and the initial one elsewhere, as the answer
    will be when the gates are right; without gates it is what was decoded.
    """

    decoded: Tensor
    target: Tensor
    composed: Tensor
    initial: Tensor
    moves: Tensor
    gate_logits: Tensor | None


def _gate(poses: _Poses) -> Tensor:
    if poses.gate_logits is None:
        raise ValueError("the loss 'gate' needs the residual decoder; this model has another")
    return losses.gate(poses.gate_logits, poses.moves)


POSE_TERMS: Final[dict[str, Callable[[_Poses], Tensor]]] = {
    "rot6d": lambda poses: losses.rot6d_l2(poses.decoded, poses.target),
    "matrix_l1": lambda poses: losses.matrix_l1(poses.decoded, poses.target),
    "matrix_l2": lambda poses: losses.matrix_l2(poses.decoded, poses.target),
    "geodesic": lambda poses: losses.geodesic(poses.decoded, poses.target),
    "joints": lambda poses: losses.joint_positions(poses.composed, poses.target),
    "gate": _gate,
    "moving": lambda poses: losses.frobenius(poses.decoded, poses.target, poses.moves),
    "still": lambda poses: losses.frobenius(poses.decoded, poses.initial, ~poses.moves),
}
"""Names for ``losses`` in a configuration of stages 2 and 3, besides ``text``."""
READER_TERMS: Final = (
    "heatmaps",
    "places",
    "seen_positions",
    "seen",
    "seen_joints",
    "lifted",
    "lifted_joints",
)
"""Those that the pose reader learns from."""
ALIGNMENT_TERMS: Final = (
    "contrastive",
    "local",
    "attention",
    "regression",
    "regression_joints",
    "image_regression",
    "image_regression_joints",
    "image_positions",
    *READER_TERMS,
)
"""Names for ``losses`` in a configuration of stage 1."""


def stage1_task(model: PoseLlavaForConditionalGeneration, weights: Mapping[str, float]) -> AlignmentTask:
    """Stage 1's forward pass with the aids that the configured losses need.

    Raises:
        ValueError: the pose reader is to learn, and the model has none.
    """
    return AlignmentTask(
        model,
        reads_positions="image_positions" in weights,
        reads_poses=any(term in weights for term in READER_TERMS),
        aligns=any(term not in READER_TERMS for term in weights),
    )


def check_terms(stage: str, weights: Mapping[str, float]) -> None:
    """Raises ValueError for a loss that the stage does not have."""
    known = ALIGNMENT_TERMS if stage == "stage1" else ("text", *POSE_TERMS)
    unknown = sorted(set(weights) - set(known))
    if unknown or not weights:
        raise ValueError(f"losses: {stage} knows {', '.join(known)}; got {', '.join(unknown) or 'none'}")


def _poses(output: PoseLlavaOutput, targets: Tensor) -> _Poses:
    assert output.pose_matrices is not None
    assert output.initial_matrices is not None
    initial = output.initial_matrices.float()
    moves = geodesic_angle(initial, targets) > MOVES_RADIANS
    decoded = output.pose_matrices.float()
    gated = output.gate_logits is not None
    composed = torch.where(moves[..., None, None], decoded, initial) if gated else decoded
    return _Poses(decoded, targets, composed, initial, moves, output.gate_logits)


def instruct(model: nn.Module, batch: Batch) -> PoseLlavaOutput:
    """The forward pass of stages 2 and 3. Every part runs in every process, whatever its rows hold: gradients that one
    process has and another lacks end a run with several."""
    output: PoseLlavaOutput = model(
        **batch.inputs, use_cache=False, every_part=True, blank_canvas=batch.blank_canvas
    )
    return output


@dataclass(frozen=True)
class Losses:
    """What a pass is to minimise.

    Attributes:
        terms: each configured term, a mean.
        by_pose: the terms of poses one by one, (Q,) each, without their share.
        by_token: (N,) the text's, one for each token that is learnt, without gradients; None where it is not.
    """

    terms: dict[str, Tensor]
    by_pose: dict[str, Tensor] = field(default_factory=dict)
    by_token: Tensor | None = None


def instruction_terms(
    output: PoseLlavaOutput, batch: Batch, weights: Mapping[str, float]
) -> dict[str, Tensor]:
    """The terms of ``instruction_losses``."""
    return instruction_losses(output, batch, weights).terms


def instruction_losses(output: PoseLlavaOutput, batch: Batch, weights: Mapping[str, float]) -> Losses:
    """Stages 2 and 3: each configured term, averaged over all processes' tokens or poses.

    Each process holds its own share: the mean of the returned values over the processes is the batch's mean, however
    the batch was cut.
    """
    text_share, pose_share = _shares(batch.text_labels, len(batch.targets), device=batch.targets.device)
    terms: dict[str, Tensor] = {}
    by_token = None
    if "text" in weights:
        assert output.text_loss is not None
        terms["text"] = output.text_loss * text_share
        by_token = _by_token(output, batch)
    by_pose: dict[str, Tensor] = {}
    if len(batch.targets):
        poses = _poses(output, batch.targets)
        by_pose = {name: POSE_TERMS[name](poses) for name in weights if name != "text"}
        terms |= {name: values.mean() * pose_share for name, values in by_pose.items()}
    if output.pose_matrices is not None:
        # Whatever the decoder put out is in every process's loss, so that all go back through the same parts.
        put_out = [output.pose_matrices, *([] if output.gate_logits is None else [output.gate_logits])]
        nothing: Any = 0.0 * sum(part.sum() for part in put_out)
        terms = {name: terms.get(name, 0.0) + nothing for name in weights}
    return Losses(terms, by_pose, by_token)


def _by_token(output: PoseLlavaOutput, batch: Batch) -> Tensor:
    """(N,) cross-entropy of each token that is learnt, for the log."""
    assert output.logits is not None
    labels = batch.inputs["labels"][:, 1:]
    with torch.no_grad():
        return functional.cross_entropy(output.logits.float(), labels[labels != -100], reduction="none")


def _shares(*counts: int, device: torch.device) -> list[float]:
    """Each of this process's counts over the mean of all processes'."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return [1.0] * len(counts)
    own = torch.tensor(counts, dtype=torch.float64, device=device)
    mean = own.clone()
    dist.all_reduce(mean)
    shares: list[float] = (own / (mean / dist.get_world_size()).clamp_min(1e-9)).tolist()
    return shares


def align(model: nn.Module, batch: Batch) -> Stage1Output:
    """Stage 1's forward pass."""
    assert batch.pixels is not None
    assert batch.canvases is not None
    dtype = next(model.parameters()).dtype
    output: Stage1Output = model(
        pixel_values=batch.pixels.to(dtype),
        poses=matrix_to_rot6d(batch.targets),
        canvases=batch.canvases.to(dtype),
    )
    return output


def alignment_terms(output: Stage1Output, batch: Batch, weights: Mapping[str, float]) -> dict[str, Tensor]:
    """Stage 1 (paper, equation 2): contrastive on the global tokens, cosine on the local ones, regression.

    The paper decodes poses from the pose's own tokens; ``image_regression`` and ``image_regression_joints`` decode
    them from the image's as well. ``attention`` tells the resampler where each joint is in the image, and
    ``image_positions`` its tokens where it is in space. The pose reader learns from ``heatmaps`` and ``places`` where
    joints are in the image, from ``seen_positions`` where in space, from ``seen`` and ``seen_joints`` the pose, and
    from ``lifted`` and ``lifted_joints`` poses whose places and positions are known without an image.
    """
    terms: dict[str, Tensor] = {}
    if "contrastive" in weights:
        image, first_row = _gathered(output.image_global.float())
        terms["contrastive"] = losses.siglip(
            output.pose_global.float(),
            image,
            output.logit_scale.float(),
            output.logit_bias.float(),
            first_row=first_row,
        )
    if "local" in weights:
        terms["local"] = losses.cosine(output.pose_local.float(), output.image_local.float())
    if "attention" in weights:
        assert batch.image_joints is not None
        shown = int(losses.shown(batch.image_joints).sum())
        (share,) = _shares(shown, device=batch.targets.device)
        terms["attention"] = losses.attention(output.attention, batch.image_joints) * share
    if "regression" in weights:
        terms["regression"] = losses.rot6d_l2(output.reconstruction, batch.targets).mean()
    if "regression_joints" in weights:
        terms["regression_joints"] = losses.joint_positions(output.reconstruction, batch.targets).mean()
    if "image_regression" in weights:
        terms["image_regression"] = losses.rot6d_l2(output.image_reconstruction, batch.targets).mean()
    if "image_regression_joints" in weights:
        terms["image_regression_joints"] = losses.joint_positions(
            output.image_reconstruction, batch.targets
        ).mean()
    if "image_positions" in weights:
        assert output.image_positions is not None
        terms["image_positions"] = losses.distance(output.image_positions.float(), batch.targets).mean()
    return terms | _reader_terms(output, batch, weights)


def _reader_terms(output: Stage1Output, batch: Batch, weights: Mapping[str, float]) -> dict[str, Tensor]:
    terms: dict[str, Tensor] = {}
    if output.seen is None:
        return terms
    assert output.heatmaps is not None
    assert output.places is not None
    assert output.seen_positions is not None
    assert output.lifted is not None
    assert output.projected is not None
    at = batch.canvas_joints
    assert at is not None
    (share,) = _shares(int(losses.shown(at).sum()), device=at.device)
    if "heatmaps" in weights:
        terms["heatmaps"] = losses.heatmaps(output.heatmaps, at) * share
    if "places" in weights:
        terms["places"] = losses.places(output.places, at) * share
    if "seen_positions" in weights:
        _, positions = forward_kinematics(batch.targets)
        terms["seen_positions"] = losses.seen_positions(output.seen_positions, positions, at) * share
    for name, made, wanted in (
        ("seen", output.seen, batch.targets),
        ("lifted", output.lifted, output.projected),
    ):
        if name in weights:
            terms[name] = losses.rot6d_l2(made, wanted).mean()
        if f"{name}_joints" in weights:
            terms[f"{name}_joints"] = losses.joint_positions(made, wanted).mean()
    return terms


def _gathered(rows: Tensor) -> tuple[Tensor, int]:
    """Rows (B, D) of all processes in order of rank, through which gradients flow, and where this one's begin."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return rows, 0
    shared = DTensor.from_local(rows, _all_processes(rows.device.type), [Shard(0)], run_check=False)
    everyone: Tensor = shared.full_tensor(grad_placements=[Partial()])
    return everyone, dist.get_rank() * len(rows)


@cache
def _all_processes(device_type: str) -> DeviceMesh:
    return init_device_mesh(device_type, (dist.get_world_size(),))


def weighted_sum(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """The loss that is minimised."""
    total: Any = sum(weights[name] * term for name, term in terms.items())
    assert isinstance(total, Tensor)
    return total


def instruction_measures(output: PoseLlavaOutput, batch: Batch) -> dict[str, Tensor]:
    """How good the answers are, one number a pose (Q,): distances in mm, angles in degrees, ``kept`` a share.

    ``copy_mpjpe_mm`` is what returning the initial pose unchanged would give.
    """
    targets = batch.targets
    if not len(targets):
        return {}
    poses = _poses(output, targets)
    answer = output.gated_matrices().float()
    _, at = forward_kinematics(answer)
    _, wanted = forward_kinematics(targets)
    _, before = forward_kinematics(poses.initial)
    degrees = torch.rad2deg(geodesic_angle(answer, targets))
    turned = torch.rad2deg(geodesic_angle(answer, poses.initial))
    moves, still = poses.moves.float(), (~poses.moves).float()
    return {
        "mpjpe_mm": 1000 * (at - wanted).norm(dim=-1).mean(-1),
        "copy_mpjpe_mm": 1000 * (before - wanted).norm(dim=-1).mean(-1),
        "moving_degrees": (degrees * moves).sum(-1) / moves.sum(-1).clamp_min(1),
        "still_degrees": (turned * still).sum(-1) / still.sum(-1).clamp_min(1),
        "kept": ((turned < 1.0).float() * still).sum(-1) / still.sum(-1).clamp_min(1),
    }


def alignment_measures(output: Stage1Output, batch: Batch) -> dict[str, Tensor]:
    """How well poses and images find each other within the batch, and how well either gives the pose (B,), where they
    learn to; where the pose reader learns, how well that does."""
    _, wanted = forward_kinematics(batch.targets)
    measures = {} if output.pose_global is None else _agreement(output, wanted)
    if output.seen is not None:
        _, read = forward_kinematics(output.seen.float())
        measures["seen_mpjpe_mm"] = 1000 * (read - wanted).norm(dim=-1).mean(-1)
    return measures


def _agreement(output: Stage1Output, wanted: Tensor) -> dict[str, Tensor]:
    """Measures (B,) of the tokens; ``wanted`` (B, J, 3) positions of the joints."""
    pose = functional.normalize(output.pose_global.float(), dim=-1)
    image = functional.normalize(output.image_global.float(), dim=-1)
    similarity = image @ pose.T
    own = similarity.diagonal()
    _, at = forward_kinematics(output.reconstruction.float())
    _, seen = forward_kinematics(output.image_reconstruction.float())
    return {
        "recall_at_1": (similarity.argmax(dim=1) == torch.arange(len(own), device=own.device)).float(),
        "mpjpe_mm": 1000 * (at - wanted).norm(dim=-1).mean(-1),
        "image_mpjpe_mm": 1000 * (seen - wanted).norm(dim=-1).mean(-1),
        "local_cosine": functional.cosine_similarity(
            output.pose_local.float(), output.image_local.float(), dim=-1
        ).mean(-1),
    }
