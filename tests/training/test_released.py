# SPDX-License-Identifier: Apache-2.0
"""The paper's released checkpoint, as a tiny one of the same layout, against what its public code computes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from backend.body.rotations import axis_angle_to_matrix, matrix_to_rot6d
from backend.engines.torch import TorchEngine
from backend.model import PoseLlavaForConditionalGeneration
from backend.model.pose_decoder import PoseContext
from backend.query import Query
from training.stages.released import convert, new_name
from training.stages.vocabulary import minilm_pieces

WIDTH, POSE_WIDTH, VISION_WIDTH = 32, 32, 64
POSES_AA = torch.from_numpy(np.random.default_rng(0).normal(0, 0.5, (3, 24, 3)).astype(np.float32))


class ReleasedPoseTower(nn.Module):
    """The pose tower of the public code: its parameters' names and its computation, written anew."""

    def __init__(self) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.randn(1, 1, POSE_WIDTH))
        self.cls_pos = nn.Parameter(torch.randn(1, 1, POSE_WIDTH))
        self.skelEmbedding = nn.Linear(6, POSE_WIDTH)
        self.pos_embed = nn.ParameterDict({"pe": nn.Parameter(torch.randn(1, 24, POSE_WIDTH))})
        layer = nn.TransformerEncoderLayer(
            POSE_WIDTH, 4, 48, dropout=0.1, activation="gelu", batch_first=True
        )
        self.seqTransEncoder = nn.TransformerEncoder(layer, 2)

    def forward(self, rows: Tensor) -> Tensor:
        """(P, 24, 6), the first two rows of each matrix, to (P, 25, D)."""
        joints = self.skelEmbedding(rows)
        placed = joints + self.pos_embed["pe"]
        token = (self.cls_token + self.cls_pos).expand(len(rows), -1, -1)
        encoded: Tensor = self.seqTransEncoder(torch.cat([token, joints + placed], dim=1))
        return encoded


class Release:
    """The parts of a tiny release, with random weights."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        words = ["<unk>", "<s>", "</s>", "<POSE>", "SMPL", *minilm_pieces(300).pieces]
        self.llama = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(words), hidden_size=WIDTH, intermediate_size=64, num_hidden_layers=2,
                num_attention_heads=4, num_key_value_heads=2, rope_theta=1e6, max_position_embeddings=256,
                rms_norm_eps=1e-5,
            )
        ).eval()  # fmt: skip
        self.clip = CLIPVisionModel(
            CLIPVisionConfig(
                hidden_size=VISION_WIDTH, intermediate_size=96, num_hidden_layers=3, num_attention_heads=1,
                image_size=32, patch_size=16,
            )
        )  # fmt: skip
        self.pose_tower = ReleasedPoseTower().eval()
        self.pose_decoder = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, 144))
        self.projectors = {
            name: nn.Sequential(nn.Linear(width, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH))
            for name, width in (("mm_projector", VISION_WIDTH), ("pose_projector", POSE_WIDTH))
        }
        pieces = models.WordPiece({word: index for index, word in enumerate(words)}, unk_token="<unk>")
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer(pieces), unk_token="<unk>", bos_token="<s>", eos_token="</s>",
            additional_special_tokens=["<POSE>"],
        )  # fmt: skip
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        self.tokenizer = tokenizer

    def weights(self) -> dict[str, Tensor]:
        """Under the names of the release."""
        parts: dict[str, nn.Module] = {
            "": self.llama,
            "model.vision_tower.vision_tower.vision_model.": self.clip,
            "model.pose_tower.pose_encoder.": self.pose_tower,
            "pose_decoder.": self.pose_decoder,
            **{f"model.{name}.": projector for name, projector in self.projectors.items()},
        }
        return {
            prefix + name.removeprefix("vision_model."): weight.clone()
            for prefix, part in parts.items()
            for name, weight in part.state_dict().items()
        }

    def save(self, folder: Path) -> Path:
        """As two files of safetensors with a configuration and a tokenizer."""
        folder.mkdir()
        named = sorted(self.weights().items())
        for number, half in enumerate((named[: len(named) // 2], named[len(named) // 2 :])):
            save_file(dict(half), folder / f"model-0000{number + 1}-of-00002.safetensors")
        values = self.llama.config.to_dict()
        values = {name: values[name] for name in values if isinstance(values[name], (int, float))}
        values |= {"model_type": "posellava", "rope_theta": 1e6, "mm_vision_select_layer": -2}
        (folder / "config.json").write_text(json.dumps(values), encoding="utf-8")
        self.tokenizer.save_pretrained(folder)
        return folder


@pytest.fixture(scope="module")
def release() -> Release:
    return Release()


@pytest.fixture(scope="module")
def converted(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("release")
    convert(release.save(folder / "source"), folder / "model", dtype="float32")
    return folder / "model"


@pytest.fixture(scope="module")
def model(converted: Path) -> PoseLlavaForConditionalGeneration:
    return PoseLlavaForConditionalGeneration.from_pretrained(converted, dtype=torch.float32).eval()


def test_no_weight_that_answering_uses_is_left_random(release: Release, converted: Path) -> None:
    ours = load_file(converted / "model.safetensors")
    theirs = release.weights()
    changed = {
        "model.pose_encoder.embed.weight",
        "model.pose_encoder.embed.bias",
        "model.pose_encoder.global_token",
    }
    changed |= {
        "model.pose_encoder.joint_position",
        "pose_decoder.layers.2.weight",
        "pose_decoder.layers.2.bias",
    }
    known = {new_name(name): weight for name, weight in theirs.items()}
    for name, weight in ours.items():
        if name in changed or name.startswith("alignment."):
            continue
        if name == "model.image_newline":
            assert not weight.any()
            continue
        original = known[name]
        assert torch.equal(weight[: len(original)], original), name
        further = weight[len(original) :]
        assert torch.allclose(further, original.mean(0).expand_as(further), atol=1e-6), name
    assert changed < set(ours)


def test_poses_are_encoded_as_by_the_public_code(
    release: Release, model: PoseLlavaForConditionalGeneration
) -> None:
    matrices = axis_angle_to_matrix(POSES_AA)
    down = matrices.clone()
    down[:, 0] = torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ matrices[:, 0]  # as its data have it
    theirs = release.pose_tower(down[..., :2, :].flatten(-2))
    token, joints = model.model.pose_encoder(matrix_to_rot6d(matrices))
    assert torch.allclose(torch.cat([token.unsqueeze(1), joints], dim=1), theirs, atol=1e-5)
    projected = model.model.pose_projector(theirs)
    assert torch.allclose(projected, release.projectors["pose_projector"](theirs), atol=1e-5)


def test_poses_are_decoded_as_by_the_public_code(
    release: Release, model: PoseLlavaForConditionalGeneration
) -> None:
    states = torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(1))
    pairs = release.pose_decoder(states).reshape(3, 24, 3, 2)
    first = nn.functional.normalize(pairs[..., 0], dim=-1)
    rest = pairs[..., 1] - (first * pairs[..., 1]).sum(-1, keepdim=True) * first
    second = nn.functional.normalize(rest, dim=-1)
    theirs = torch.stack([first, second, torch.linalg.cross(first, second)], dim=-1)
    numbers = model.pose_decoder.layers(states).reshape(3, 24, 2, 3)
    assert torch.equal(numbers, pairs.transpose(-1, -2))
    assert torch.allclose(theirs.mT @ theirs, torch.eye(3).expand_as(theirs), atol=1e-5)
    assert model.config.pose_state == "predicting"
    theirs[:, 0] = torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ theirs[:, 0]
    nothing = torch.zeros(0)
    context = PoseContext(states, nothing, nothing, nothing, nothing, nothing, nothing, nothing)
    assert torch.allclose(model.pose_decoder(context).matrices, theirs, atol=1e-5)


def test_words_are_read_as_by_the_public_code(
    release: Release, model: PoseLlavaForConditionalGeneration
) -> None:
    ids = torch.tensor([[1, 9, 40, 77, 3, 12]])
    theirs = release.llama(ids).logits
    assert torch.allclose(model(input_ids=ids).logits[..., : theirs.shape[-1]], theirs, atol=1e-4)


def test_the_converted_model_answers_all_tasks(converted: Path) -> None:
    engine = TorchEngine.load(converted)
    from PIL import Image

    image = Image.fromarray(np.random.default_rng(1).integers(0, 255, (40, 30, 3), dtype=np.uint8))
    answers = engine.answer(
        [
            Query("adjust", "raise the left arm", POSES_AA[0].numpy()),
            Query("generate", "arms up"),
            Query("estimate", "", image=image),
        ]
    )
    assert all(np.isfinite(answer.pose_aa).all() for answer in answers)


def test_a_release_that_lacks_a_weight_or_holds_an_unknown_one_is_refused(
    release: Release, tmp_path: Path
) -> None:
    source = release.save(tmp_path / "source")
    shard = source / "model-00002-of-00002.safetensors"
    weights = load_file(shard)
    save_file({name: weights[name] for name in weights if "mm_projector.2" not in name}, shard)
    first = load_file(source / "model-00001-of-00002.safetensors")
    lost = any("mm_projector.2" in name for name in weights)
    if not lost:
        kept = {name: first[name] for name in first if "mm_projector.2" not in name}
        save_file(kept, source / "model-00001-of-00002.safetensors")
    with pytest.raises(ValueError, match=r"multi_modal_projector\.linear_2"):
        convert(source, tmp_path / "model")
    assert not (tmp_path / "model").exists()
    save_file({**weights, **first, "model.surprise.weight": torch.zeros(2)}, shard)
    with pytest.raises(ValueError, match="surprise"):
        convert(source, tmp_path / "model")


def test_a_release_without_its_embeddings_or_sizes_is_refused(release: Release, tmp_path: Path) -> None:
    source = release.save(tmp_path / "source")
    config = json.loads((source / "config.json").read_text())
    del config["hidden_size"]
    (source / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"config\.json is not the release's: it lacks hidden_size"):
        convert(source, tmp_path / "model")
    for file in source.glob("*.safetensors"):
        weights = load_file(file)
        save_file({name: weights[name] for name in weights if "lm_head" not in name}, file)
    with pytest.raises(ValueError, match=r"it lacks lm_head\.weight"):
        convert(source, tmp_path / "model")


def test_a_folder_without_the_releases_pose_tower_is_refused(release: Release, tmp_path: Path) -> None:
    source = release.save(tmp_path / "source")
    for file in source.glob("*.safetensors"):
        weights = load_file(file)
        save_file({name: weights[name] for name in weights if "pose_tower" not in name}, file)
    with pytest.raises(ValueError, match="no checkpoint of the paper"):
        convert(source, tmp_path / "model")
