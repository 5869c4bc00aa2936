# SPDX-License-Identifier: Apache-2.0
"""A LLaVA-NeXT checkpoint of the published layout as the start, LoRA on it, and what is exported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPVisionConfig,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessorPil,
    LlavaNextProcessor,
    MistralConfig,
    PreTrainedTokenizerFast,
)

from backend.engines.torch import TorchEngine
from backend.model.blazepose import BlazePoseTrunk
from backend.model.llava import from_llava
from backend.query import Query
from training.data.build import write_index
from training.data.samples import Sample
from training.data.shards import shard_name, write_shard
from training.stages.export import export, export_adapter
from training.stages.initialise import start_model
from training.stages.loop import train
from training.stages.settings import ModelSettings, load_settings
from training.stages.trunk_weights import load_trunk, published_file
from training.stages.vocabulary import minilm_pieces

from .conftest import eight_edits, eight_pictures, write_yaml

CONFIGS = Path(__file__).parents[2] / "training" / "configs"
POSE_SIZES = {
    "pose_hidden_size": 32, "pose_encoder_layers": 1, "pose_attention_heads": 2, "pose_intermediate_size": 64,
    "pose_decoder": "mlp",
}  # fmt: skip


def published_name(name: str) -> str:
    """A weight's name in the hub's llava-v1.6 checkpoints."""
    name = name.replace("lm_head.", "language_model.lm_head.").removeprefix("model.")
    if name.startswith("language_model.") and "lm_head" not in name:
        return name.replace("language_model.", "language_model.model.", 1)
    return name.replace("vision_tower.", "vision_tower.vision_model.", 1)


@pytest.fixture
def llava(tmp_path: Path) -> Path:
    """A tiny LLaVA-NeXT of random weights, saved as the hub's are."""
    words = ["<pad>", "<unk>", "<s>", "</s>", "<image>", *minilm_pieces(500).pieces]
    pieces = models.WordPiece({word: index for index, word in enumerate(words)}, unk_token="<unk>")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(pieces), pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>",
        additional_special_tokens=["<image>"],
    )  # fmt: skip
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    config = LlavaNextConfig(
        text_config=MistralConfig(
            vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=1, pad_token_id=0, bos_token_id=2, eos_token_id=3,
        ),
        vision_config=CLIPVisionConfig(
            hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=32,
            patch_size=16,
        ),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=[[32, 32]],
    )  # fmt: skip
    torch.manual_seed(0)
    model = LlavaNextForConditionalGeneration(config)
    folder = tmp_path / "llava"
    folder.mkdir()
    config.save_pretrained(folder)
    weights = {published_name(name): weight.contiguous() for name, weight in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    images = LlavaNextImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, image_grid_pinpoints=[[32, 32]]
    )
    LlavaNextProcessor(
        images,
        tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    ).save_pretrained(folder)
    return folder


@pytest.fixture
def lora(llava: Path, stage3: dict[str, Any]) -> dict[str, Any]:
    return {
        **stage3,
        "model": {"start": str(llava), "changes": POSE_SIZES},
        "trainable": {
            "language_model": "lora", "lora": {"rank": 4, "alpha": 8}, "embeddings": "all", "vision_projector": True,
        },
        "losses": {"text": 1.0, "rot6d": 10.0},
        "run": {**stage3["run"], "gradient_checkpointing": True},
    }  # fmt: skip


@pytest.mark.parametrize("changes", [POSE_SIZES, {**POSE_SIZES, "vision_stem": [4, 8]}])
def test_the_published_layout_is_read_whole(llava: Path, changes: dict[str, Any]) -> None:
    model, processor = from_llava(llava, changes, dtype=torch.float32, attention="sdpa")
    published = load_file(llava / "model.safetensors")
    old_words = len(published["language_model.lm_head.weight"])
    for name, weight in model.state_dict().items():
        if ".patch_embedding.stem.out." in name:
            assert not weight.any(), name
        elif not name.startswith(("model.pose_", "pose_decoder", "alignment")) and ".stem." not in name:
            original = published[published_name(name)]
            assert torch.equal(weight[:old_words] if weight.ndim else weight, original), name
    assert len(processor.tokenizer) == old_words + 2 == model.get_input_embeddings().num_embeddings
    ids = processor.tokenizer.convert_tokens_to_ids(["<pose>", "<POSE>", "<image>"])
    config = model.config
    assert ids == [config.pose_token_index, config.pose_output_token_index, config.image_token_index]


def test_a_pose_reader_beside_published_weights_starts_with_its_published_trunk(llava: Path) -> None:
    settings = ModelSettings(start=llava, changes={**POSE_SIZES, "pose_reader": True})
    model, _ = start_model(settings, dtype=torch.float32, attention="sdpa")
    published = BlazePoseTrunk()
    load_trunk(published, published_file())
    assert model.pose_reader is not None
    torch.testing.assert_close(model.pose_reader.trunk.state_dict(), published.state_dict())


def test_a_weight_that_the_checkpoint_lacks_is_an_error(llava: Path) -> None:
    weights = load_file(llava / "model.safetensors")
    del weights["language_model.lm_head.weight"]
    save_file(weights, llava / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="left random"):
        from_llava(llava, POSE_SIZES, dtype=torch.float32, attention="sdpa")


def test_a_checkpoint_that_was_cut_off_is_named(llava: Path) -> None:
    cut_off(llava / "model.safetensors")
    with pytest.raises(ValueError, match=f"weights in {llava} is damaged or cut off"):
        from_llava(llava, POSE_SIZES, dtype=torch.float32, attention="sdpa")


def cut_off(weights: Path) -> None:
    weights.write_bytes(weights.read_bytes()[:-100])


@pytest.mark.slow
def test_lora_trains_and_its_merged_export_answers_like_the_kept_adapter(
    tmp_path: Path, lora: dict[str, Any]
) -> None:
    train(
        load_settings(write_yaml(tmp_path / "config.yaml", lora), ["run.steps=4", "run.checkpoint_steps=4"])
    )
    export(tmp_path / "run", tmp_path / "merged", dtype="float32")
    export_adapter(tmp_path / "run", tmp_path / "adapter")
    merged = TorchEngine.load(tmp_path / "merged")
    names = set(load_file(tmp_path / "merged" / "model.safetensors"))
    assert not any("lora" in name for name in names)
    kept = TorchEngine.load(tmp_path / "adapter")
    queries = [Query(edit.task, edit.instruction, edit.pose_aa) for edit in eight_edits()]
    for one, other in zip(merged.answer(queries), kept.answer(queries), strict=True):
        assert one.pose_aa == pytest.approx(other.pose_aa, abs=1e-4)
    base, _ = from_llava(tmp_path / "llava", POSE_SIZES, dtype=torch.float32, attention="sdpa")
    layer = "model.language_model.layers.0.self_attn.q_proj.weight"
    assert not torch.equal(base.state_dict()[layer], merged.model.state_dict()[layer])
    frozen = "model.vision_tower.embeddings.patch_embedding.weight"
    assert torch.equal(base.state_dict()[frozen], merged.model.state_dict()[frozen])
    cut_off(tmp_path / "adapter" / "trained_parts.safetensors")
    with pytest.raises(ValueError, match=f"weights in {tmp_path / 'adapter'} is damaged"):
        TorchEngine.load(tmp_path / "adapter")
    (tmp_path / "llava").rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"base\.json"):
        TorchEngine.load(tmp_path / "adapter")


def folder_of(folder: Path, samples: list[Sample]) -> Path:
    folder.mkdir(parents=True)
    write_shard(folder / shard_name(0), samples)
    write_index(folder, {}, [len(samples)])
    return folder


@pytest.mark.slow
def test_the_papers_recipe_goes_through_its_stages_with_its_own_configurations(
    tmp_path: Path, llava: Path
) -> None:
    """The files for 7b on a tiny LLaVA: only folders, batches and numbers of steps are others."""
    edits = folder_of(tmp_path / "data" / "edits", eight_edits())
    pictures = folder_of(tmp_path / "data" / "pictures", eight_pictures())
    words = [replace(edit, task="generate", pose_aa=None) for edit in eight_edits()]
    descriptions = folder_of(tmp_path / "data" / "descriptions", words)
    chat = folder_of(
        tmp_path / "data" / "chat", [Sample("1", "chat", "chat", "raise what", reply="the arm")] * 4
    )

    def train_stage(config: str, start: Path, *sources: Path) -> Path:
        run = tmp_path / config
        paths = ", ".join(f"{source.name}: {{path: {source}}}" for source in sources)
        train(
            load_settings(
                CONFIGS / f"7b_{config}.yaml",
                [
                    f"model.start={start}", f"output={run}", f"data.sources={{{paths}}}",
                    f"data.validation={sources[0]}", "run.micro_batch=4", "run.accumulation=2", "run.steps=2",
                    "run.threads=1", "run.log_steps=1",
                ],
            )
        )  # fmt: skip
        return run

    def finished(run: Path) -> Path:
        export(run, run / "model", dtype="bfloat16")
        return run / "model"

    first = finished(train_stage("stage1", llava, pictures))
    second = finished(train_stage("stage2", first, descriptions))
    third = train_stage("stage3", second, edits, descriptions, pictures, chat)
    export_adapter(third, tmp_path / "adapter")
    chatpose = train_stage("chatpose_stage3", llava, descriptions, chat, pictures)
    edit = eight_edits()[0]
    queries = [Query("generate", edit.instruction), Query("adjust", edit.instruction, edit.pose_aa)]
    for model, count in ((finished(third), 2), (tmp_path / "adapter", 2), (finished(chatpose), 1)):
        for answer in TorchEngine.load(model).answer(queries[:count]):
            assert np.isfinite(answer.pose_aa).all()
