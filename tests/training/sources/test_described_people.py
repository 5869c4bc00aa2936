# SPDX-License-Identifier: Apache-2.0
"""ChatPose's questions about photographs of several people, in the form of the refined annotations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from training.data.build import run
from training.data.registry import Build
from training.data.shards import SampleSource
from training.data.sources.described_people import described_people, words_for

POSE = np.random.default_rng(3).normal(0, 0.3, (24, 3))
POSE[0] = Rotation.from_euler("y", 20, degrees=True).as_rotvec()


def record(number: int, **changes: Any) -> dict[str, Any]:
    """As the files have them, whose poses have +y down."""
    seen = POSE.copy()
    seen[0] = (Rotation.from_euler("x", 180, degrees=True) * Rotation.from_rotvec(POSE[0])).as_rotvec()
    return {
        "id": f"{number:06d}",
        "image": f"{number:06d}.png",
        "real_image": "3DPW/imageFiles/downtown_bus/image_00326.jpg",
        "conversations": [
            {
                "from": "human",
                "value": "<image>\nThe man with black hair, can you give the SMPL pose of this person?",
            },
            {"from": "gpt", "value": "Sure, it is <POSE>."},
        ],
        "ground_truth": {"smpl_param": {"pose": seen.reshape(-1).tolist(), "gender": "male"}},
    } | changes


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "refined"
    folder.mkdir()
    (folder / "refine_vqa_behavior_withGT.json").write_text(json.dumps([record(0), record(1)]))
    damaged = [record(0), record(1, ground_truth={}), record(2, real_image="downtown_bus/image_00999.jpg")]
    (folder / "refine_vqa_outfits_withGT.json").write_text(json.dumps(damaged))
    picture = tmp_path / "3DPW" / "imageFiles" / "downtown_bus" / "image_00326.jpg"
    picture.parent.mkdir(parents=True)
    Image.new("RGB", (96, 54), "teal").save(picture)
    return folder


def test_whole_pictures_are_read_with_the_words_for_a_person(files: Path, tmp_path: Path) -> None:
    out = tmp_path / "built"
    images = tmp_path / "3DPW" / "imageFiles"
    list(run(Build("rpe", out, None, annotations=files, images=images)))
    shards = SampleSource(out)
    samples = [shards.read(0, row) for row in range(shards.sizes[0])]
    assert [sample.kind for sample in samples] == ["behavior", "behavior", "outfits"]
    for sample in samples:
        assert (sample.task, sample.instruction) == ("estimate", "The man with black hair")
        assert sample.image.size == (96, 54)
        turned = Rotation.from_rotvec(sample.target_aa[0]).inv() * Rotation.from_rotvec(POSE[0])
        assert np.degrees(turned.magnitude()) < 0.1, "heading 0 faces the camera, +y is up"
        np.testing.assert_allclose(sample.target_aa[1:], POSE[1:], atol=1e-3)


def test_the_folder_above_the_pictures_does_as_well(files: Path, tmp_path: Path) -> None:
    [sample] = described_people(files / "refine_vqa_outfits_withGT.json", tmp_path / "3DPW").rows(0, 1)
    assert sample.image == tmp_path / "3DPW" / "imageFiles" / "downtown_bus" / "image_00326.jpg"


@pytest.mark.parametrize(
    "question",
    [
        "<image>\nThe woman near the stairs, can you give the SMPL pose of this person?",
        "The woman near the stairs. Could you please provide the SMPL pose of this person",
        "The woman near the stairs",
    ],
)
def test_the_wording_around_a_person_is_taken_off(question: str) -> None:
    assert words_for(question) == "The woman near the stairs"


def test_what_holds_nobody_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps([record(0, conversations=[])]))
    with pytest.raises(ValueError, match="no person with words"):
        described_people(tmp_path / "x.json", tmp_path)
    with pytest.raises(FileNotFoundError, match="no descriptions of people"):
        described_people(tmp_path / "nothing", tmp_path)
