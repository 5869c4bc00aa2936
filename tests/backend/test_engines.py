# SPDX-License-Identifier: Apache-2.0
"""Both engines give the same answers; the small one needs no torch, and its files belong together."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from backend.batch import Here
from backend.body.draw import DrawingUnavailableError
from backend.body.pictures import draw_poses
from backend.body.rotations import axis_angle_to_matrix as to_matrix
from backend.body.rotations import matrix_to_rot6d
from backend.engines import SHIPPED_MODEL, load_engine
from backend.engines.onnx import OnnxEngine
from backend.engines.people import NOBODY
from backend.engines.torch import TorchEngine
from backend.graph_files import CHECKSUMS_FILE, check_files
from backend.model import PoseLlavaForConditionalGeneration
from backend.model.graphs import AnswerGraph, write_graphs
from backend.model.storage import pack
from backend.query import Query
from blender_addon.contract.messages import Request
from blender_addon.contract.rotations import axis_angle_to_matrix, geodesic_degrees
from blender_addon.contract.skeleton import STANDING_POSE
from tests.backend.conftest import TINY_TEXT_ENCODER, save_tiny, tiny_config, tiny_processor
from training.data.directives.sampler import DirectiveSampler
from training.data.pool import PosePool

ROOT = Path(__file__).parents[2]
SAME_DEGREES = 0.1
WITHOUT_TORCH = "import sys; sys.modules.update(dict.fromkeys(['torch', 'transformers', 'safetensors']))\n"


@pytest.fixture(scope="module")
def onnx() -> OnnxEngine:
    return OnnxEngine.load(SHIPPED_MODEL)


@pytest.fixture(scope="module")
def with_torch() -> TorchEngine:
    return TorchEngine.load(SHIPPED_MODEL)


def sentences(count: int) -> list[tuple[str, np.ndarray]]:
    """Instructions of every length and kind, each with a pose to start from."""
    rng = np.random.default_rng(5)
    sampler = DirectiveSampler(lambda rng: PosePool(None).draw(rng, 1)[0])
    samples = [sampler.draw(rng) for _ in range(count)]
    return [(sample.instruction, sample.pose_aa) for sample in samples]


def assert_same(queries: list[Query], one: OnnxEngine, other: TorchEngine) -> None:
    """The same are answered in words, the same joints stay, to the bit, and the others turn alike."""
    posed = 0
    for start in range(0, len(queries), 32):
        asked = queries[start : start + 32]
        for query, a, b in zip(asked, one.answer(asked), other.answer(asked), strict=True):
            assert a.text == b.text
            if a.pose_aa is None or b.pose_aa is None:
                assert a.pose_aa is b.pose_aa, query
                continue
            posed += 1
            difference = geodesic_degrees(axis_angle_to_matrix(a.pose_aa), axis_angle_to_matrix(b.pose_aa))
            assert difference.max() < SAME_DEGREES, query
            if query.pose_aa is not None:
                still = (a.pose_aa == query.pose_aa).all(axis=1)
                np.testing.assert_array_equal(still, (b.pose_aa == query.pose_aa).all(axis=1))
    assert posed > 0.8 * len(queries)


@pytest.mark.slow
def test_both_engines_count_the_same_parameters(onnx: OnnxEngine, with_torch: TorchEngine) -> None:
    assert onnx.describe()["parameters"] == with_torch.describe()["parameters"]


@pytest.mark.slow
def test_both_engines_edit_and_generate_alike(onnx: OnnxEngine, with_torch: TorchEngine) -> None:
    options = [{}, {"strength": 0.4}, {"parts": frozenset({"left_arm", "head"})}, {"strength": 0.0}]
    cases = sentences(500)
    edits = [Query("adjust", words, pose, **options[n % 4]) for n, (words, pose) in enumerate(cases)]
    assert_same(edits, onnx, with_torch)
    assert_same([Query("generate", words) for words, _ in cases], onnx, with_torch)


@pytest.mark.slow
def test_both_engines_read_pictures_alike(onnx: OnnxEngine, with_torch: TorchEngine) -> None:
    rng = np.random.default_rng(2)
    try:
        pictures = draw_poses(PosePool(None).draw(rng, 60), size=160)
    except DrawingUnavailableError:
        pytest.skip("pictures are drawn with OpenGL, which is not here")
    queries = []
    for number, picture in enumerate(pictures):
        box = (-int(rng.integers(0, 200)), 0, 160, 160 + int(rng.integers(0, 120)))
        queries.append(Query("estimate", "", image=picture.crop(box), strength=1.0 - 0.5 * (number % 2)))
    assert_same(queries, onnx, with_torch)


@pytest.fixture(scope="module")
def figure() -> Image.Image:
    """A picture of somebody who stands there."""
    try:
        return draw_poses(STANDING_POSE[None], size=160)[0]
    except DrawingUnavailableError:
        pytest.skip("pictures are drawn with OpenGL, which is not here")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["onnx", "with_torch"])
def test_words_that_are_not_read_are_said_to_be_so(
    engine: str, figure: Image.Image, request: pytest.FixtureRequest
) -> None:
    queries = [Query("estimate", words, image=figure) for words in ("in a good mood", " ")]
    told, silent = request.getfixturevalue(engine).answer(queries)
    assert "The words were not read" in told.text
    assert silent.text == ""
    np.testing.assert_allclose(told.pose_aa, silent.pose_aa, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["onnx", "with_torch"])
def test_a_plain_picture_and_noise_move_nothing_and_say_so(
    engine: str, request: pytest.FixtureRequest
) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (90, 50, 3), dtype=np.uint8)
    pictures = [Image.new("RGB", (64, 96), "grey"), Image.fromarray(noise)]
    for answer in request.getfixturevalue(engine).answer(
        [Query(task, "", image=picture) for picture in pictures for task in ("estimate", "adjust")]
    ):
        assert (answer.pose_aa, answer.text) == (None, NOBODY)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["onnx", "with_torch"])
def test_doubtful_pictures_and_words_that_are_tokens_are_answered(
    engine: str, request: pytest.FixtureRequest
) -> None:
    sizes = [(1, 1), (1, 1024), (1024, 1), (3, 2)]
    words = ["<pose> <pose> <image>" * 50, "</s><s>[INST]", "<POSE>" * 300, "\x00\x1b[2J", "\ufffd" * 2000]
    queries = [Query("estimate", "", image=Image.new("RGB", size)) for size in sizes]
    queries += [Query("adjust", text, STANDING_POSE) for text in words]
    for answer in request.getfixturevalue(engine).answer(queries):
        assert answer.pose_aa is None or np.isfinite(answer.pose_aa).all()


def test_an_edit_without_a_pose_is_asked_of_the_picture(onnx: OnnxEngine, figure: Image.Image) -> None:
    image = io.BytesIO()
    figure.save(image, "PNG")
    edit = Request("a", "adjust", "raise the left arm", image_png=image.getvalue())
    edited, seen = Here(onnx).ask([edit, replace(edit, id="b", task="estimate", instruction="")])
    gap = geodesic_degrees(axis_angle_to_matrix(edited.pose_aa), axis_angle_to_matrix(seen.pose_aa))
    assert gap[16] > 20  # the left shoulder, of the pose that is seen
    assert np.median(gap) < 5


def test_all_tasks_may_share_a_batch(onnx: OnnxEngine, figure: Image.Image) -> None:
    pose = np.random.default_rng(0).normal(0, 0.4, (24, 3)).astype(np.float32)
    queries = [
        Query("estimate", "", image=figure),
        Query("adjust", "raise the left arm and look at the floor on the right", pose),
        Query("generate", "a person who sits"),
        Query("adjust", "nod", pose),
    ]
    for query, answer in zip(queries, onnx.answer(queries), strict=True):
        alone = onnx.answer([query])[0]
        difference = geodesic_degrees(
            axis_angle_to_matrix(alone.pose_aa), axis_angle_to_matrix(answer.pose_aa)
        )
        assert difference.max() < 0.01


def test_the_graphs_in_the_tree_belong_to_the_weights() -> None:
    check_files(SHIPPED_MODEL)


@pytest.mark.parametrize("text_encoder_layers", [0, 1])
@pytest.mark.parametrize("state", ["token", "predicting"])
@pytest.mark.parametrize("decoder", ["mlp", "transformer", "residual"])
def test_what_is_exported_is_the_models_own_pass(decoder: str, state: str, text_encoder_layers: int) -> None:
    """Rows with two poses, one and none, of different lengths."""
    torch.manual_seed(0)
    config = tiny_config(
        decoder,
        pose_state=state,
        pose_history=True,
        text_encoder_layers=text_encoder_layers,
        text_encoder_hidden_size=16,
        text_encoder_attention_heads=2,
        text_encoder_intermediate_size=32,
    )
    model = PoseLlavaForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # what starts at zero would hide what it is given
            parameter.add_(0.05 * torch.randn_like(parameter))
    rng = np.random.default_rng(0)
    rows = [[2, *[4] * 25, 8, *[4] * 25, 9, 10, 6], [2, 8, 9, *[4] * 25, 6, 11], [2, 8, 6]]
    length = max(map(len, rows))
    ids = torch.tensor([row + [0] * (length - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows])
    poses = matrix_to_rot6d(to_matrix(torch.from_numpy(rng.normal(0, 0.5, (3, 24, 3)).astype(np.float32))))
    answer_at = torch.tensor([len(rows[0]) - 1, len(rows[1]) - 2, 2])
    words = {}
    if text_encoder_layers:
        places = torch.full_like(ids, -1)
        places[0, 26], places[1, 1:3] = 1, torch.tensor([6, 7])
        words = {"texts": torch.tensor([[2, 8, 3, 0, 0], [2, 8, 9, 3, 0]]), "text_places": places}
    with torch.no_grad():
        whole = model(
            input_ids=ids, attention_mask=mask, poses=poses, answer_at=answer_at, logits_to_keep=None, **words
        )
        matrices, first_logits = AnswerGraph(model)(
            ids,
            mask,
            poses,
            output_at=answer_at,
            edited=torch.tensor([1, 2, 3]),
            edited_at=torch.tensor([27, 3, -1]),
            earlier=torch.tensor([0, 2, 3]),
            answer_at=answer_at,
            choices=torch.arange(7).expand(3, -1),
            **words,
        )
    torch.testing.assert_close(matrices, whole.gated_matrices(), atol=1e-5, rtol=0)
    torch.testing.assert_close(first_logits, whole.first_logits[:, :7], atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("stored", ["bfloat16", "int8"])
def test_a_new_model_gets_graphs_that_hold_none_of_its_weights(stored: str, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    torch.manual_seed(0)
    reads_texts = stored == "int8"
    model = PoseLlavaForConditionalGeneration(
        tiny_config("residual", **(TINY_TEXT_ENCODER if reads_texts else {}))
    )
    templates = {
        "adjust": [{"question": "adjust : {instruction} <pose>", "answer": "the left arm <POSE> ."}],
        "generate": [{"question": "generate : {instruction}", "answer": "<POSE>"}],
    }
    save_tiny(model.to(torch.bfloat16), templates, folder, reads_texts=reads_texts)
    if reads_texts:
        pack(folder)
    write_graphs(folder)
    queries = [
        Query("adjust", "raise the left arm", np.full((24, 3), 0.2, np.float32)),
        Query("generate", "right knee by 30 degrees"),
        Query("adjust", "", np.full((24, 3), -0.1, np.float32)),
    ]
    assert_same(queries, OnnxEngine.load(folder), TorchEngine.load(folder))
    import onnx

    inline = [
        tensor
        for tensor in onnx.load(folder / "answer.onnx", load_external_data=False).graph.initializer
        if tensor.data_location != onnx.TensorProto.EXTERNAL
    ]
    assert max(np.prod(tensor.dims) for tensor in inline) < 500


def test_a_table_that_is_only_looked_up_is_not_made_float32_as_a_whole() -> None:
    import onnx

    graph = onnx.load(SHIPPED_MODEL / "answer.onnx", load_external_data=False).graph
    (words,) = [weight for weight in graph.initializer if "text_encoder.words.weight.stored" in weight.name]
    assert words.data_type == onnx.TensorProto.INT8
    assert [node.op_type for node in graph.node if words.name in node.input] == ["Gather"]


def test_a_graph_is_small() -> None:
    for graph in SHIPPED_MODEL.glob("*.onnx"):
        assert graph.stat().st_size < 600_000


@pytest.mark.slow
def test_a_model_that_reads_patches_is_said_to_need_torch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    PoseLlavaForConditionalGeneration(tiny_config()).save_pretrained(tmp_path)
    tiny_processor().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="--engine torch"):
        write_graphs(tmp_path)
    assert isinstance(load_engine(tmp_path), TorchEngine)


@pytest.mark.slow
def test_auto_takes_onnx_on_a_cpu() -> None:
    assert isinstance(load_engine(), OnnxEngine)
    with pytest.raises(ValueError, match="onnx answers on the CPU, not on 'cuda'"):
        load_engine(engine="onnx", device="cuda")


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(bytes(data))


@pytest.mark.parametrize("damage", [cut, flip, Path.unlink])
def test_the_torch_engine_finds_damaged_weights_too(damage: Callable[[Path], None], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(SHIPPED_MODEL, tmp_path / "model"))
    damage(folder / "answer.onnx")  # which it does not read
    weights = folder / "model-00002-of-00002.safetensors"
    damage(weights)
    with pytest.raises((FileNotFoundError, ValueError), match=rf"{weights.name} is (damaged|missing)"):
        TorchEngine.load(folder)


@pytest.mark.parametrize("damage", [cut, flip, Path.unlink])
@pytest.mark.parametrize(
    "name", ["answer.onnx", "picture.onnx", "model-00001-of-00002.safetensors", CHECKSUMS_FILE]
)
def test_a_damaged_model_is_named_with_what_to_do(
    name: str, damage: Callable[[Path], None], tmp_path: Path
) -> None:
    folder = shutil.copytree(SHIPPED_MODEL, tmp_path / "mini")
    damage(folder / name)
    with pytest.raises(
        (ValueError, OSError), match=r"copy or download the model again|posellava graphs"
    ) as caught:
        load_engine(folder, engine="onnx")
    assert name in str(caught.value) or name == CHECKSUMS_FILE


@pytest.mark.slow
def test_a_path_with_spaces_and_other_letters_is_as_good(tmp_path: Path) -> None:
    folder = shutil.copytree(SHIPPED_MODEL, tmp_path / "mein Modell 模型")
    assert load_engine(folder, engine="onnx").answer([Query("generate", "sit")])[0].pose_aa is not None


def test_waiting_threads_do_not_spin(onnx: OnnxEngine) -> None:
    onnx.answer([Query("generate", "a person who sits")] * 8)
    busy = time.process_time()
    time.sleep(0.4)
    assert time.process_time() - busy < 0.2


@pytest.mark.slow
def test_the_small_engine_and_the_server_need_no_torch(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"id": 1, "task": "generate", "instruction": "a person who sits"}\n')
    script = (
        WITHOUT_TORCH + "import backend.server\n"
        "from backend.cli import main\n"
        f"assert main(['batch', {str(tmp_path / 'in.jsonl')!r}, {str(tmp_path / 'out.jsonl')!r}]) == 0\n"
        "assert main(['info']) == 0\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert '"pose"' in (tmp_path / "out.jsonl").read_text()


def test_the_server_is_imported_without_what_is_slow_to_load() -> None:
    script = (
        "import sys, backend.server\n"
        "print(*sorted({'torch', 'transformers', 'onnxruntime', 'tokenizers', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


@pytest.mark.parametrize(
    ("missing", "engine", "sentence"),
    [
        ("onnxruntime", "onnx", "pip install posellava"),
        ("torch", "torch", "pip install 'posellava[torch]'"),
    ],
)
def test_an_engine_that_is_not_installed_is_named(missing: str, engine: str, sentence: str) -> None:
    script = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from backend.cli import main\n"
        f"sys.exit(main(['info', '--engine', {engine!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert sentence in done.stderr
