# SPDX-License-Identifier: Apache-2.0
"""The retrieval model: descriptions and poses as vectors of one space, apart from the model that is measured.

After PoseScript's (Delmas et al. 2022, "PoseScript", section 4.1): a text encoder and a pose encoder trained so that
a pose and its description are near each other. It is small and knows the words of the project's own descriptions.

Legend: N items, W words of the longest text, J = 24 joints.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from backend.body.kinematics import forward_kinematics
from backend.body.rotations import axis_angle_to_matrix, matrix_to_rot6d, split_heading
from backend.model.pose_encoder import transformer_encoder
from blender_addon.contract.rotations import Array
from blender_addon.contract.skeleton import NUM_JOINTS
from training.data.show import words_of

WIDTH: Final = 128
HEADS: Final = 4
TEXT_LAYERS: Final = 2
POSE_WIDTH: Final = 512
VECTOR: Final = 256
LONGEST_TEXT: Final = 128
"""Words; what follows is not read."""
INITIAL_SCALE: Final = 14.0
"""One over the temperature at the start (Radford et al. 2021)."""
AT_ONCE: Final = 256
_WEIGHTS: Final = "model.safetensors"
_WORDS: Final = "words.json"
_PAD, _UNKNOWN = 0, 1


class RetrievalModel(nn.Module):
    """Two encoders into one space.

    Args:
        words: the vocabulary; other words are one unknown word.
    """

    def __init__(self, words: Sequence[str]) -> None:
        super().__init__()
        self.words = list(words)
        self._number = {word: index + 2 for index, word in enumerate(self.words)}
        self.word = nn.Embedding(len(self.words) + 2, WIDTH, padding_idx=_PAD)
        self.place = nn.Parameter(0.1 * torch.randn(LONGEST_TEXT, WIDTH))
        self.reader = transformer_encoder(WIDTH, HEADS, 2 * WIDTH, TEXT_LAYERS, norm_first=True)
        self.text_out = nn.Linear(WIDTH, VECTOR)
        self.pose = nn.Sequential(
            nn.Linear(NUM_JOINTS * 9, POSE_WIDTH), nn.GELU(), nn.Linear(POSE_WIDTH, POSE_WIDTH), nn.GELU(),
            nn.LayerNorm(POSE_WIDTH), nn.Linear(POSE_WIDTH, VECTOR),
        )  # fmt: skip
        self.log_scale = nn.Parameter(torch.tensor(INITIAL_SCALE).log())

    def texts(self, texts: Sequence[str]) -> Tensor:
        """(N, VECTOR) unit vectors of texts."""
        rows = [
            [self._number.get(word, _UNKNOWN) for word in words_of(text)][:LONGEST_TEXT] for text in texts
        ]
        longest = max(1, max(len(row) for row in rows))
        ids = torch.tensor([row + [_PAD] * (longest - len(row)) for row in rows])
        # A text without words is read as one unknown word.
        ids[ids[:, 0] == _PAD, 0] = _UNKNOWN
        padding = ids == _PAD
        read = self.reader(self.word(ids) + self.place[:longest], src_key_padding_mask=padding)
        read = read.masked_fill(padding.unsqueeze(-1), 0.0)
        mean = read.sum(dim=1) / (~padding).sum(dim=1, keepdim=True)
        return functional.normalize(self.text_out(mean), dim=-1)

    def poses(self, poses_aa: Tensor) -> Tensor:
        """(N, VECTOR) unit vectors of poses (N, J, 3) axis-angle, radians; the heading is not looked at."""
        _, local = split_heading(axis_angle_to_matrix(poses_aa))
        _, positions = forward_kinematics(local)
        features = torch.cat([matrix_to_rot6d(local), positions], dim=-1)
        return functional.normalize(self.pose(features.flatten(1)), dim=-1)

    def loss(self, texts: Tensor, poses: Tensor) -> Tensor:
        """Symmetric cross-entropy over the batch; rows (N, VECTOR) of texts and poses belong together."""
        similar = self.log_scale.exp() * texts @ poses.T
        own = torch.arange(len(similar))
        loss: Tensor = (functional.cross_entropy(similar, own) + functional.cross_entropy(similar.T, own)) / 2
        return loss

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> Array:
        """(N, VECTOR) of texts."""
        chunks = [texts[start : start + AT_ONCE] for start in range(0, len(texts), AT_ONCE)]
        return np.concatenate([self.texts(chunk).double().numpy() for chunk in chunks])

    @torch.inference_mode()
    def embed_poses(self, poses_aa: npt.NDArray[np.float32]) -> Array:
        """(N, VECTOR) of poses (N, J, 3)."""
        chunks = [poses_aa[start : start + AT_ONCE] for start in range(0, len(poses_aa), AT_ONCE)]
        return np.concatenate([self.poses(torch.from_numpy(chunk)).double().numpy() for chunk in chunks])

    def save(self, folder: Path) -> None:
        """Writes the weights and the vocabulary."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _WORDS).write_text(json.dumps(self.words), encoding="utf-8")
        save_file(self.state_dict(), folder / _WEIGHTS)

    @classmethod
    def load(cls, folder: Path) -> RetrievalModel:
        """Reads what ``save`` wrote. Raises FileNotFoundError where nothing is."""
        if not (folder / _WEIGHTS).is_file():
            raise FileNotFoundError(
                f"no retrieval model in {folder}: train one with 'posellava train-retrieval --output {folder}'"
            )
        model = cls(json.loads((folder / _WORDS).read_text(encoding="utf-8")))
        model.load_state_dict(load_file(folder / _WEIGHTS))
        return model.eval()
