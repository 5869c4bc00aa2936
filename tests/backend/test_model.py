# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from backend.body.rotations import heading
from backend.engines.answers import finish
from backend.engines.torch import TorchEngine
from backend.model import PoseLlavaForConditionalGeneration, PoseLlavaProcessor
from backend.model.pose_reader import CloseLook
from backend.query import Query
from blender_addon.contract.kinematics import yaw_matrix
from blender_addon.contract.rotations import axis_angle_to_matrix, geodesic_degrees, matrix_to_axis_angle

POSE = np.random.default_rng(0).normal(0, 0.4, (24, 3)).astype(np.float32)
IMAGE = Image.fromarray(np.random.default_rng(1).integers(0, 255, (48, 40, 3), dtype=np.uint8))
SEEN = np.random.default_rng(2).normal(0, 1, (24, 3)).astype(np.float32)
EDIT = Query("adjust", "raise the left arm", POSE)


def test_a_forward_pass_gives_one_rotation_a_joint_for_each_task(model, processor) -> None:
    batch = processor.encode([EDIT, Query("generate", "left arm"), Query("estimate", "", image=IMAGE)])
    batch.pop("headings")
    output = model(**batch)
    assert output.pose_matrices.shape == (3, 24, 3, 3)
    identity = output.pose_matrices @ output.pose_matrices.transpose(-1, -2)
    assert torch.allclose(identity, torch.eye(3).expand_as(identity), atol=1e-5)
    assert (output.gate_logits is not None) == (model.config.pose_decoder == "residual")


def test_rows_of_a_batch_do_not_influence_each_other(model, processor) -> None:
    queries = [EDIT, Query("adjust", "the right knee by 30 degrees .", -POSE), Query("generate", "arm")]
    engine = TorchEngine(model, processor, name="tiny")
    together = engine.answer(queries)
    for query, answer in zip(queries, together, strict=True):
        alone = engine.answer([query])[0]
        np.testing.assert_allclose(alone.pose_aa, answer.pose_aa, atol=1e-4)


def test_the_answer_depends_on_the_words_the_pose_and_the_image(processor) -> None:
    from tests.backend.conftest import tiny_config

    torch.manual_seed(0)
    model = PoseLlavaForConditionalGeneration(tiny_config("residual"))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    engine = TorchEngine(model, processor, name="tiny")

    def matrices(query: Query) -> np.ndarray:
        return engine.answer([query])[0].pose_aa

    assert not np.allclose(matrices(EDIT), matrices(Query("adjust", "raise the right knee", POSE)), atol=1e-5)
    other = Image.fromarray(255 - np.asarray(IMAGE))
    one, two = (matrices(Query("estimate", "", image=image)) for image in (IMAGE, other))
    assert not np.allclose(one, two, atol=1e-6)


@pytest.mark.parametrize("pose_reader", [False, True])
def test_an_image_enters_as_the_pose_that_is_read_from_it_with_its_heading(
    processor, pose_reader: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.backend.conftest import tiny_config

    torch.manual_seed(0)
    model = PoseLlavaForConditionalGeneration(tiny_config("residual", pose_reader=pose_reader)).eval()
    torch.nn.init.constant_(model.pose_decoder.gate.bias, -100.0)
    torch.nn.init.normal_(model.alignment.decoder_head.weight)
    if model.pose_reader is not None:
        # As drawn it hardly looks at the image, and what is the same in the mirror has no heading.
        def as_bright(canvases: torch.Tensor) -> torch.Tensor:
            brightness = canvases.mean((1, 2, 3)).numpy()
            return torch.from_numpy(axis_angle_to_matrix(np.multiply.outer(brightness, SEEN))).float()

        monkeypatch.setattr(model.pose_reader, "look_closely", as_bright)
        monkeypatch.setattr(
            model.pose_reader,
            "look_twice",
            lambda canvases: CloseLook(
                as_bright(canvases), *(torch.zeros(len(canvases), 24, *more) for more in ((), (2,), ()))
            ),
        )
    other = Image.fromarray(np.asarray(IMAGE) // 2)
    queries = [
        EDIT,
        Query("estimate", "", image=IMAGE),
        Query("generate", "arm"),
        Query("estimate", "", image=other),
    ]
    batch = processor.encode(queries)
    assert batch["pose_images"].tolist() == [-1, 0, -1, 1]
    if model.pose_reader is None:
        seen = model.align(batch["pixel_values"], batch["poses"][:2]).image_reconstruction
    else:
        seen = model.pose_reader.look_closely(batch["canvases"])
    assert heading(seen[:, 0]).abs().min() > 0.1
    answers = TorchEngine(model, processor, name="tiny").answer(queries)
    for row, answer in ((0, answers[1]), (1, answers[3])):
        turned = axis_angle_to_matrix(answer.pose_aa)
        np.testing.assert_allclose(turned, seen[row].detach().numpy(), atol=1e-4)
    np.testing.assert_array_equal(answers[0].pose_aa, POSE)


def test_a_template_may_show_the_seen_pose_without_the_patches(processor, tmp_path: Path) -> None:
    from tests.backend.conftest import tiny_config, tiny_processor

    model = PoseLlavaForConditionalGeneration(tiny_config("residual")).eval()
    templates = {"estimate": [{"question": "adjust: <seen_pose>", "answer": "<POSE>"}]}
    short = PoseLlavaProcessor(
        processor.image_processor,
        processor.tokenizer,
        templates,
        patch_size=16,
        num_additional_image_tokens=1,
    )
    batch = short.encode([Query("estimate", "", image=IMAGE)])
    assert not (batch["input_ids"] == model.config.image_token_index).any()
    assert TorchEngine(model, short, name="tiny").answer([Query("estimate", "", image=IMAGE)])[
        0
    ].pose_aa.shape == (24, 3)
    words = tiny_processor().prompter.plain("raise <seen_pose> arm")
    assert "<seen_pose>" not in words


@pytest.mark.parametrize(("pose_reader", "needed"), [(False, "pixel_values"), (True, "canvases")])
def test_a_pose_to_be_seen_needs_its_image(processor, pose_reader: bool, needed: str) -> None:
    from tests.backend.conftest import tiny_config

    model = PoseLlavaForConditionalGeneration(tiny_config(pose_reader=pose_reader)).eval()
    batch = processor.encode([Query("estimate", "", image=IMAGE)])
    del batch[needed]
    with pytest.raises(ValueError, match=f"give {needed} too"):
        model(**batch)


def test_words_are_generated_after_a_seen_pose_as_without_a_cache(model, processor) -> None:
    batch = processor.encode([Query("estimate", "", image=IMAGE)])
    del batch["headings"]
    limits = {"max_new_tokens": 3, "min_new_tokens": 3, "do_sample": False}
    cached, plain = (model.generate(**batch, **limits, use_cache=use_cache) for use_cache in (True, False))
    assert cached.tolist() == plain.tolist()
    assert cached.shape[1] == batch["input_ids"].shape[1] + 3


def test_saved_and_loaded_models_answer_alike_with_no_weight_left_random(
    model, processor, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    loaded, info = PoseLlavaForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    again = TorchEngine(loaded, PoseLlavaProcessor.from_pretrained(tmp_path), name="tiny").answer([EDIT])[0]
    np.testing.assert_allclose(
        TorchEngine(model, processor, name="tiny").answer([EDIT])[0].pose_aa, again.pose_aa, atol=1e-5
    )


def test_text_loss_equals_cross_entropy_over_the_full_logits(model, processor) -> None:
    batch = processor.encode([EDIT, Query("generate", "left arm")], with_labels=True)
    batch.pop("headings")
    loss = model(**batch).text_loss
    labels = batch.pop("labels")
    logits = model(**batch).logits
    expected = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_generation_places_the_pose_once_and_continues_from_the_cache(model, processor) -> None:
    batch = processor.encode([EDIT])
    batch.pop("headings")
    cached = model.generate(**batch, max_new_tokens=4, do_sample=False)
    plain = model.generate(**batch, max_new_tokens=4, do_sample=False, use_cache=False)
    assert cached.tolist() == plain.tolist()


def test_the_wrong_number_of_placeholders_is_an_error(model, processor) -> None:
    batch = processor.encode([EDIT])
    with pytest.raises(ValueError, match="<pose> tokens"):
        model(input_ids=batch["input_ids"], poses=torch.cat([batch["poses"]] * 2))


def test_turning_the_body_turns_the_answer_and_nothing_else(model, processor) -> None:
    engine = TorchEngine(model, processor, name="tiny")
    turned = POSE.copy()
    turned[0] = matrix_to_axis_angle(yaw_matrix(1.9) @ axis_angle_to_matrix(POSE[0]))
    plain, other = engine.answer([EDIT, Query("adjust", EDIT.instruction, turned)])
    expected = axis_angle_to_matrix(plain.pose_aa)
    expected[0] = yaw_matrix(1.9) @ expected[0]
    assert geodesic_degrees(expected, axis_angle_to_matrix(other.pose_aa)).max() < 0.1


def test_special_tokens_in_an_instruction_are_plain_words(processor) -> None:
    batch = processor.encode([Query("adjust", "raise <POSE> the <pose> <image> </s> arm", POSE)])
    ids = batch["input_ids"][0].tolist()
    assert ids.count(processor.tokenizer.convert_tokens_to_ids("<POSE>")) == 1
    assert ids.count(processor.tokenizer.convert_tokens_to_ids("<pose>")) == 25
    assert processor.tokenizer.convert_tokens_to_ids("<image>") not in ids


def test_joints_outside_the_allowed_parts_keep_their_exact_numbers() -> None:
    answer = np.random.default_rng(3).normal(0, 0.4, (24, 3)).astype(np.float32)
    query = Query("adjust", "", POSE, parts=frozenset({"left_arm"}))
    (finished,) = finish([query], axis_angle_to_matrix(answer[None]))
    arm = [13, 16, 18, 20, 22]
    others = [joint for joint in range(24) if joint not in arm]
    np.testing.assert_array_equal(finished[others], POSE[others])
    np.testing.assert_allclose(finished[arm], answer[arm], atol=1e-5)


def test_strength_turns_part_of_the_way() -> None:
    answer = POSE.copy()
    answer[16] = matrix_to_axis_angle(axis_angle_to_matrix(POSE[16]) @ axis_angle_to_matrix([0.0, 0.0, 1.0]))
    (half,) = finish([Query("adjust", "", POSE, strength=0.5)], axis_angle_to_matrix(answer[None]))
    expected = axis_angle_to_matrix(POSE[16]) @ axis_angle_to_matrix([0.0, 0.0, 0.5])
    assert geodesic_degrees(axis_angle_to_matrix(half[16]), expected) < 0.01
    np.testing.assert_array_equal(np.delete(half, 16, axis=0), np.delete(POSE, 16, axis=0))


def test_an_edit_without_a_pose_is_refused(model, processor) -> None:
    with pytest.raises(ValueError, match="needs a pose"):
        TorchEngine(model, processor, name="tiny").answer([Query("adjust", "raise the arm")])


def test_whole_images_are_the_first_tiles(processor) -> None:
    images = [IMAGE, Image.fromarray(np.random.default_rng(1).integers(0, 255, (20, 50, 3), dtype=np.uint8))]
    first = processor.image_processor(images, return_tensors="pt")["pixel_values"][:, 0]
    torch.testing.assert_close(processor.whole_images(images), first)


def test_every_setting_of_the_processor_survives_saving(processor, tmp_path: Path) -> None:
    templates = {"adjust": [{"question": "<image> change: {instruction} <pose>", "answer": "<POSE> ."}]}
    changed = PoseLlavaProcessor(
        processor.image_processor,
        processor.tokenizer,
        templates=templates,
        prompt_format="[INST] {question} [/INST] ",
        max_instruction_tokens=7,
        known_words=["left"],
        patch_size=16,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    changed.save_pretrained(tmp_path)
    loaded = PoseLlavaProcessor.from_pretrained(tmp_path)
    seen = Query("adjust", "raise the left arm", POSE, IMAGE)
    assert loaded.max_instruction_tokens == 7
    assert loaded.prompter.plain("a lfet arm") == "a left arm"
    assert torch.equal(loaded.encode([seen])["input_ids"], changed.encode([seen])["input_ids"])
