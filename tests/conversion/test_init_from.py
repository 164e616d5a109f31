"""Training starts from converted weights and from a Hugging Face directory itself."""

import dataclasses
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import nota_jax
from configs import phase2
from conversion import fill, from_hf
from nota_jax import run
from nota_jax.checkpoint import steps
from nota_jax.data.feed.tokenizer import save_tokenizer
from nota_jax.errors import UserError
from nota_jax.params import flatten
from tests.conversion import hf_directories as hf
from tests.conversion.counting import counted
from tests.conversion.hf_directories import quiet
from tests.models.hf_reference import hf_llava, params_of, tiny

TUNES = "".join(
    f"X:{i}\nT:Scale {i}\nM:4/4\nL:1/8\nK:{key}\nCDEF GABc|{'C2 D2 E2 F2|' * i}G4 G4|]\n\n"
    for i, key in enumerate(("G", "D", "Am", "F", "C", "Em"), 1)
)


def configured(folder, name):
    """Phase 2, shrunk; the vision tower is frozen as in the paper."""
    c = phase2.get_config("tiny")
    c.data.dir, c.run_dir, c.previous = str(folder / "data"), str(folder / name), ""
    c.data.build.corpora, c.data.build.limit = (f"path:{folder / 'tunes'}",), 0
    c.data.build.workers = 1
    c.model.vision.update(dict(image_size=336, patch_size=84, hidden_size=16, intermediate_size=32))
    c.model.vision.update(
        dict(num_hidden_layers=2, num_attention_heads=2, patches="all", most_patches=0)
    )
    c.model.text.update(dict(hidden_size=16, intermediate_size=32, num_hidden_layers=1))
    c.model.text.update(dict(num_attention_heads=2, num_key_value_heads=1, head_dim=8))
    c.objective, c.tokenizer = "answers", ""
    c.vocab_size, c.steps, c.log_every = 400, 2, 1
    c.data.batch_size, c.data.lengths, c.data.threads, c.data.shares = 4, (512,), 1, {}
    return c


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """(folder with `hf/`, its weights as our parameters)."""
    folder = tmp_path_factory.mktemp("init_from")
    (folder / "tunes").mkdir()
    (folder / "tunes" / "scales.abc").write_text(TUNES)
    prepared = run.prepare(configured(folder, "scratch"), quiet)
    architecture = prepared.model.config
    hf.llava_directory(folder / "hf", architecture, "transformers-4.57")
    save_tokenizer(prepared.tokenizer, folder / "hf")
    from_hf.convert(from_hf.read(llava=folder / "hf"), folder / "ckpt", quiet)
    return folder, jax.tree.map(np.asarray, params_of(hf_llava(architecture)))


def same(a, b):
    a, b = flatten(a), flatten(b)
    return a.keys() == b.keys() and all(np.array_equal(a[path], b[path]) for path in a)


@pytest.mark.parametrize("where", ["hf", "ckpt"])
def test_a_run_starts_from_weights_and_tokenizer(start, where):
    folder, params = start
    config, said = configured(folder, f"from_{where}"), []
    config.init_from = str(folder / where)
    prepared = run.prepare(config, said.append)
    assert not any("training a byte-level BPE" in line for line in said)
    outcome = run.train(prepared, said.append)
    assert outcome.step == 2 and np.isfinite(outcome.report["loss"])
    assert any(line.startswith("weights: from ") and where in line for line in said)

    # The frozen part went in bit for bit; the rest began there and has moved a little.
    shapes = prepared.shapes
    after = steps.load_params(config.run_dir, shapes)
    assert same(after["vision_tower"], params["vision_tower"])
    kernel = after["multi_modal_projector"]["linear_1"]["kernel"]
    moved = np.abs(kernel - params["multi_modal_projector"]["linear_1"]["kernel"]).max()
    assert 0 < moved < 5 * config.optim.learning_rate
    assert same(run.starting_weights(prepared, quiet)(None), params)


def test_weights_of_another_rotary_base_are_refused_though_shapes_fit(start):
    folder, _ = start
    for where in ("hf", "ckpt"):
        config = configured(folder, "other")
        config.init_from, config.model.text.rope_theta = str(folder / where), 1e4
        prepared = run.prepare(config, quiet)
        with pytest.raises(
            UserError, match="rope_theta is 1000000.0 there and 10000.0 here: --conf"
        ):
            run.starting_weights(prepared, quiet)(None)


def test_what_is_no_place_to_start_from_is_refused(start):
    folder, _ = start
    config = configured(folder, "none")
    for where, words in (("nowhere", "is not there"), ("tunes", "holds neither base/")):
        config.init_from = str(folder / where)
        with pytest.raises(UserError, match=words):
            run.train(run.prepare(config, quiet), quiet)
        assert not (Path(config.run_dir) / "config.json").exists()  # no run has begun there


ON_A_MESH = """
import pickle, sys
import jax, numpy as np
from conversion import from_hf, tensors
from nota_jax.models.config import NotaGPTConfig
from nota_jax.models.notagpt import param_shapes
from nota_jax.parallel.mesh import make_mesh, param_shardings
from nota_jax.params import flatten
from tests.conversion.counting import counted

config = NotaGPTConfig.from_dict(pickle.loads(bytes.fromhex(sys.argv[2])))
shapes = param_shapes(config)
mesh = make_mesh(2, 2, 2)
with counted() as read:
    out = from_hf.load(sys.argv[1], config, param_shardings(mesh, shapes), str)
flat = flatten(out)
pieces = {path: max(s.data.nbytes for s in x.addressable_shards) for path, x in flat.items()}
values = {path: np.asarray(x) for path, x in flat.items()}
sys.stdout.buffer.write(pickle.dumps((list(read), pieces, values)))
"""


def test_on_a_mesh_every_byte_of_the_checkpoint_is_read_once(tmp_path):
    """In a process of its own, in which XLA shows eight virtual CPU devices.

    Data, fsdp and tensor are 2 each, so every part lies on two devices at least.
    """
    config = tiny(text=dict(vocab_size=104))
    hf.llava_directory(tmp_path / "hf", config, "transformers-5-saved")
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(Path(nota_jax.__file__).parents[1]),
        "XLA_FLAGS": os.environ["XLA_FLAGS"] + " --xla_force_host_platform_device_count=8",
    }
    argv = [sys.executable, "-c", ON_A_MESH, str(tmp_path / "hf")]
    argv.append(pickle.dumps(dataclasses.asdict(config)).hex())
    answer = subprocess.run(argv, env=environment, check=True, capture_output=True, timeout=600)
    read, pieces, values = pickle.loads(answer.stdout)
    want = flatten(params_of(hf_llava(config)))
    assert values.keys() == want.keys()
    for path, value in want.items():
        np.testing.assert_array_equal(values[path], value)
    whole = sum(tensor.nbytes for tensor in hf.exported(tmp_path / "hf").values())
    assert sum(count for _, count in read) == whole
    # Nothing was read at once that is larger than what one device holds of the largest parameter.
    assert max(count for _, count in read) <= max(pieces.values())
    kernel = "language_model/model/layers/mlp/up_proj/kernel"
    assert pieces[kernel] == want[kernel].nbytes // 4


@pytest.mark.parametrize(
    "path, index, tensors_read",
    [
        ("language_model/model/layers/mlp/up_proj/kernel", np.s_[1:2, :24, 20:40], 1),
        ("language_model/model/layers/input_layernorm/scale", np.s_[:, :], 3),
        ("language_model/model/embed_tokens/embedding", np.s_[52:, 24:], 1),
        ("language_model/lm_head/kernel", np.s_[:, 30:60], 1),
        ("vision_tower/embeddings/patch_embedding/kernel", np.s_[2:4, :, :, 16:], 1),
    ],
)
def test_a_part_of_a_parameter_reads_no_other_part(tmp_path, path, index, tensors_read):
    config = tiny(text=dict(vocab_size=104))
    hf.llava_directory(tmp_path / "hf", config)
    want = flatten(params_of(hf_llava(config)))[path][index]
    parameter = from_hf.read(llava=tmp_path / "hf").plan.parameters[path]
    with counted() as read:
        part = parameter.read(index)
    np.testing.assert_array_equal(part, want)
    assert len(read) == tensors_read
    assert sum(count for _, count in read) == want.nbytes


def test_new_tokens_are_the_mean_of_the_old_ones_in_every_part(tmp_path):
    """The vocabulary grows from 101 to 128; cut in four, a part is old, mixed or new."""
    hf.llava_directory(tmp_path / "hf", tiny(), "original")
    parameters = from_hf.read(llava=tmp_path / "hf").plan.parameters
    for path in (fill.EMBEDDING, fill.HEAD):
        axis = 0 if path == fill.EMBEDDING else 1
        whole = parameters[path].read()
        old, new = np.split(whole, [101], axis)
        mean = old.astype(np.float64).mean(axis, keepdims=True).astype(np.float32)
        np.testing.assert_allclose(new, np.broadcast_to(mean, new.shape), rtol=1e-6)
        for start in (0, 32, 64, 96):
            cut = [slice(None), slice(None)]
            cut[axis], cut[1 - axis] = slice(start, start + 32), slice(24, 48)
            np.testing.assert_array_equal(parameters[path].read(tuple(cut)), whole[tuple(cut)])


def test_a_conversion_says_where_it_comes_from(start):
    folder, _ = start
    made = json.loads((folder / "ckpt/conversion.json").read_text())
    assert made["sources"][0]["layout"] == "transformers-4.57"
    assert made["sources"][0]["tensors"] > 0 and made["left_out"] == {}
