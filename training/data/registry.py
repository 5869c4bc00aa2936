# SPDX-License-Identifier: Apache-2.0
"""What samples can be made of: a function for each source, and the one table that lists them.

To add one, write a function here that says how its samples are drawn (the work itself belongs into a module of its
own), and list it in ``SOURCES``. Modules are imported only when a source is opened.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .samples import Sample

if TYPE_CHECKING:
    from .images import StartGiven
    from .pool import PosePool
    from .sources.dataset import DatasetSamples
    from .sources.pose_set import PoseSet
    from .starts import StartPoses

DrawSample = Callable[[np.random.Generator], Sample]
DrawSamples = Callable[[np.random.Generator, int], list[Sample]]
Split = Literal["train", "val", "test"]
PARTIAL_SHARE = 0.3
"""How many PoseFix-style pairs go only some of the way, so that training sees small changes too."""
CROWDED_SHARE = 0.4
"""How many photographs have people behind the person, things before it, or an edge that cuts it off."""


@dataclass(frozen=True)
class Build:
    """What to build.

    Attributes:
        source: a name in ``SOURCES``.
        folder: where the shards go.
        count: samples, rounded up to whole shards; of a data set, None for all that there are.
        seed: of everything that is drawn.
        poses: a file or folder of poses, in any format that is known; None for constructed poses only.
        split: which part of the poses, or of a data set; only the latter may have one for tests.
        shard_size: samples a shard.
        annotations: for sources that are data sets: the released file or folder.
        images: for those that have pictures: the folder of them.
        noise_degrees: deviation of the noise on the parts that a pair of poses leaves alone.
        body: a licensed SMPL, SMPL-H or SMPL-X file to draw pictures with; None for the neutral body.
        start: what an edit starts from: the pose, a picture of it, or both.
        held_out: releases of PoseScript or PoseFix; their validation and test poses are left out of ``poses``.
        gathered: the folder in which the poses were gathered already; None to read them from ``poses``.
    """

    source: str
    folder: Path
    count: int | None
    seed: int = 0
    poses: Path | None = None
    split: Split = "train"
    shard_size: int = 4096
    annotations: Path | None = None
    images: Path | None = None
    noise_degrees: float = 0.0
    body: Path | None = None
    start: StartGiven = "pose"
    held_out: tuple[Path, ...] = ()
    gathered: Path | None = None


def directives(build: Build) -> DrawSamples:
    """Instructions as animators type them, with constructed targets."""
    from .directives.sampler import DirectiveSampler

    return _one_by_one(DirectiveSampler(_start_poses(build)).draw)


def basics(build: Build) -> DrawSamples:
    """Directives again, but mostly what is asked most, in plain sentences: an earlier lesson."""
    from .directives.sampler import BASICS, DirectiveSampler

    return _one_by_one(DirectiveSampler(_start_poses(build), BASICS).draw)


def patterns(build: Build) -> DrawSamples:
    """Sentences written by hand, with targets that a solver finds for their constraints; with turns before."""
    from .patterns.sampler import PatternSampler

    return PatternSampler(_start_poses(build)).draw_many


def view(build: Build) -> DrawSamples:
    """Sentences about the camera, with and without knowing where it is, and others seen from it."""
    from .patterns.viewing import ViewSampler

    return ViewSampler(_start_poses(build)).draw_many


def pictures(build: Build) -> DrawSamples:
    """Pictures of posed bodies, for stage 1 and pose estimation."""
    from .images import PictureSampler

    return _one_by_one(PictureSampler(_start_poses(build), build.body, crowded=CROWDED_SHARE).draw)


def descriptions(build: Build) -> DrawSamples:
    """Descriptions of whole poses, for stage 2 and pose generation; no pose file is used."""
    from .directives.descriptions import DescriptionSampler

    return _one_by_one(DescriptionSampler().draw)


def captions(build: Build) -> DrawSamples:
    """Poses described by rule, for stage 2 and pose generation."""
    from .captions.sampler import CaptionSampler

    return CaptionSampler(_pool(build)).draw_many


def actions(build: Build) -> DrawSamples:
    """Recorded poses asked for by what their clips show; needs poses with labels."""
    from .actions.actions import ActionSampler

    recorded = recorded_poses(build)
    if recorded is None:
        raise ValueError(
            "actions are worded from the labels of recorded clips; name their poses with --poses"
        )
    return ActionSampler(recorded).draw_many


def situations(build: Build) -> DrawSamples:
    """Everyday situations, and postures that fit them; no pose file is used."""
    from .actions.situations import SituationSampler

    return _one_by_one(SituationSampler().draw)


def posepart(build: Build) -> DrawSamples:
    """Pairs of poses that differ in one body part, and the words that lead from one to the other: PosePart."""
    from .posepart import PairSampler, PairSettings

    return _shown(build, PairSampler(_pool(build), PairSettings(noise_degrees=build.noise_degrees)).draw_many)


def nudges(build: Build) -> DrawSamples:
    """PosePart's pairs, but the part goes only some of the way: the small changes that the paper lacks."""
    from .posepart import PairSampler, PairSettings

    settings = PairSettings(noise_degrees=build.noise_degrees, partial_share=1.0)
    return _shown(build, PairSampler(_pool(build), settings).draw_many)


def unsaid(build: Build) -> DrawSamples:
    """Poses of which nothing is asked, so that what is read from a picture comes through as it was read."""
    pool = _pool(build)

    def draw(rng: np.random.Generator, count: int) -> list[Sample]:
        return [Sample("", "adjust", "unsaid", "", pose, pose) for pose in pool.draw(rng, count)]

    return draw


def posefix(build: Build) -> DrawSamples:
    """The same of pairs that differ in several parts."""
    from .posepart import PairSampler, PairSettings

    settings = PairSettings(several=True, noise_degrees=build.noise_degrees, partial_share=PARTIAL_SHARE)
    return _shown(build, PairSampler(_pool(build), settings).draw_many)


def posescript_release(build: Build) -> DatasetSamples[Any]:
    """PoseScript's released texts, on poses of the user's AMASS folder."""
    from .sources.annotations import posescript

    return posescript(_given(build, "annotations"), _given(build, "poses"), build.split)


def posefix_release(build: Build) -> DatasetSamples[Any]:
    """PoseFix's released texts, on poses of the user's AMASS folder."""
    from .sources.annotations import posefix

    return posefix(_given(build, "annotations"), _given(build, "poses"), build.split)


def posefix_texts(build: Build) -> DatasetSamples[Any]:
    """PoseFix's released texts without the poses that they start from, for stage 2."""
    from .sources.annotations import posefix_alone

    return posefix_alone(_given(build, "annotations"), _given(build, "poses"), build.split)


def conversations(build: Build) -> DatasetSamples[Any]:
    """LLaVA's instruction data, without poses, for stage 3."""
    from .sources.conversations import conversations as read_conversations

    split: Literal["train", "val"] = "val" if build.split == "val" else "train"
    return read_conversations(_given(build, "annotations"), build.images, split)


def threedpw(build: Build) -> DatasetSamples[Any]:
    """Photographs of 3DPW, for stage 1 and pose estimation."""
    from .sources.photographs import photographs

    return photographs(_given(build, "annotations"), _given(build, "images"), "3dpw", build.split)


def human36m(build: Build) -> DatasetSamples[Any]:
    """Photographs of Human3.6M, or of another data set with SMPL fits of that form."""
    from .sources.photographs import photographs

    return photographs(_given(build, "annotations"), _given(build, "images"), "human36m", build.split)


def rpe(build: Build) -> DatasetSamples[Any]:
    """Whole photographs of several people, and words for one of them: ChatPose's benchmark, its indices set right."""
    from .sources.described_people import described_people

    return described_people(_given(build, "annotations"), _given(build, "images"))


def _given(build: Build, name: Literal["annotations", "poses", "images"]) -> Path:
    path: Path | None = getattr(build, name)
    if path is None:
        where = {
            "annotations": "its texts or annotations are",
            "poses": "the folder of AMASS is",
            "images": "its pictures are",
        }
        raise ValueError(f"{build.source} is read from files of yours: say where {where[name]} with --{name}")
    return path


def _shown(build: Build, draw: DrawSamples) -> DrawSamples:
    """The samples with pictures of their starts, where the build wants them."""
    if build.start == "pose":
        return draw
    from .images import show_start

    return lambda rng, count: [
        show_start(rng, sample, build.start, body_file=build.body) for sample in draw(rng, count)
    ]


def _one_by_one(draw: DrawSample) -> DrawSamples:
    return lambda rng, count: [draw(rng) for _ in range(count)]


def _pool(build: Build) -> PosePool:
    """Poses in bulk: the build's, mixed with constructed ones."""
    from .pool import PosePool

    return PosePool(recorded_poses(build))


def _start_poses(build: Build) -> StartPoses:
    """Poses from the build's file or folder of poses, or constructed ones."""
    from .starts import StartPoses

    recorded = recorded_poses(build)
    if recorded is None:
        return StartPoses(None)
    return StartPoses(recorded.pose_aa, recorded.label_weights())


def recorded_poses(build: Build) -> PoseSet | None:
    """The poses that a build draws from: gathered, or read from its file or folder; None for constructed ones."""
    from .sources.gathered import read_gathered
    from .sources.held_out import HeldOut
    from .sources.reading import read_poses

    if build.gathered is not None:
        return read_gathered(build.gathered)
    if build.poses is None:
        return None
    return read_poses(build.poses, build.split, HeldOut(build.held_out) if build.held_out else None)


@dataclass(frozen=True)
class Source:
    """Something that samples are drawn from, or read from.

    Attributes:
        open: what ``posellava data build`` draws with, for a build; raises ValueError for an option that is missing.
        uses: the options of a build that it uses.
        is_dataset: whether it is a data set that is read, so that a build holds each sample at most once.
        is_text: whether it is words and poses alone, and needs no files of the user's.
        splits: those that it has.
    """

    open: Callable[[Build], DrawSamples]
    uses: tuple[str, ...] = ("poses", "held_out")
    is_dataset: bool = False
    is_text: bool = False
    splits: tuple[Split, ...] = ("train", "val")


_PAIRS = ("poses", "held_out", "noise_degrees", "start", "body")
_TEXTS = ("annotations", "poses")
_PHOTOGRAPHS = ("annotations", "images")
_RELEASED: tuple[Split, ...] = ("train", "val", "test")

SOURCES: dict[str, Source] = {
    "directives": Source(directives, is_text=True),
    "basics": Source(basics),
    "patterns": Source(patterns, is_text=True),
    "view": Source(view, is_text=True),
    "posepart": Source(posepart, _PAIRS, is_text=True),
    "nudges": Source(nudges, _PAIRS),
    "unsaid": Source(unsaid),
    "posefix": Source(posefix, _PAIRS, is_text=True),
    "captions": Source(captions, is_text=True),
    "descriptions": Source(descriptions, (), is_text=True),
    "actions": Source(actions),
    "situations": Source(situations, (), is_text=True),
    "pictures": Source(pictures, ("poses", "held_out", "body")),
    "posescript_release": Source(posescript_release, _TEXTS, is_dataset=True, splits=_RELEASED),
    "posefix_release": Source(posefix_release, _TEXTS, is_dataset=True, splits=_RELEASED),
    "posefix_texts": Source(posefix_texts, _TEXTS, is_dataset=True, splits=_RELEASED),
    "conversations": Source(conversations, _PHOTOGRAPHS, is_dataset=True),
    "3dpw": Source(threedpw, _PHOTOGRAPHS, is_dataset=True, splits=_RELEASED),
    "human36m": Source(human36m, _PHOTOGRAPHS, is_dataset=True, splits=_RELEASED),
    "rpe": Source(rpe, _PHOTOGRAPHS, is_dataset=True, splits=("train",)),
}
"""What ``posellava data build`` can draw, or read."""

TEXT_SOURCES = tuple(name for name, source in SOURCES.items() if source.is_text)

_OPTIONS = {
    "poses": "--poses", "annotations": "--annotations", "images": "--images", "noise_degrees": "--noise",
    "body": "--body", "held_out": "--held-out",
}  # fmt: skip


def check_options(build: Build) -> None:
    """Raises ValueError for an option that the source would take without using it."""
    used = SOURCES[build.source].uses
    idle = [option for name, option in _OPTIONS.items() if name not in used and getattr(build, name)]
    if build.start != "pose" and "start" not in used:
        idle.append("--start")
    if build.body is not None and "start" in used and build.start == "pose":
        idle.append("--body without --start image or both")
    if idle:
        raise ValueError(f"{build.source} uses no {' and no '.join(idle)}: leave that out")
    if build.held_out and (build.poses is None or not build.poses.is_dir()):
        raise ValueError("--held-out names poses of AMASS: give its folder with --poses")
    splits = SOURCES[build.source].splits
    if build.split not in splits:
        has = "no splits" if len(splits) == 1 else f"the splits {' and '.join(splits)}"
        raise ValueError(f"{build.source} has {has}: leave --split {build.split} out")
