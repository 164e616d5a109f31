"""Parameters written and read in pieces are the parameters written and read whole."""

import jax
import ml_dtypes
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from nota_jax.checkpoint import base, slices
from nota_jax.checkpoint.base import load_base, save_base
from nota_jax.checkpoint.fingerprints import fingerprint
from nota_jax.checkpoint.steps import load_params
from nota_jax.errors import UserError
from nota_jax.parallel.mesh import make_mesh, param_shardings
from nota_jax.params import flatten


def parameters(dtype=np.float32):
    rng = np.random.default_rng(0)
    return {
        "language_model": {
            "layers": {"mlp": {"kernel": rng.normal(size=(5, 7, 6)).astype(dtype)}},
            "norm": {"scale": rng.normal(size=9).astype(dtype)},
        }
    }


def shapes_of(params):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), params)


def blocks(params, rows=2):
    for path, value in flatten(params).items():
        for start in range(0, len(value), rows):
            yield path, start, value[start : start + rows]


def same(a, b):
    return all(jax.tree.leaves(jax.tree.map(lambda x, y: x.tobytes() == y.tobytes(), a, b)))


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_a_base_in_blocks_is_a_base(tmp_path, dtype):
    params = parameters(dtype)
    marks = slices.save_base(tmp_path, shapes_of(params), blocks(params))
    assert marks == fingerprint(params)
    loaded, found = load_base(tmp_path, params)
    assert same(loaded, params) and found == marks
    shardings = param_shardings(
        make_mesh(devices=jax.devices()[:1]), params, [(".*", PartitionSpec())]
    )
    placed = load_params(tmp_path, params, shardings=shardings)
    assert same(jax.tree.map(np.asarray, placed), params)


def test_blocks_that_leave_gaps_are_refused(tmp_path):
    params = parameters()
    some = [block for block in blocks(params) if block[1] != 2]
    with pytest.raises(ValueError, match="do not follow"):
        slices.save_base(tmp_path / "a", shapes_of(params), some)
    some = [block for block in blocks(params) if block[1] < 4]
    with pytest.raises(ValueError, match="do not fill language_model/layers/mlp/kernel"):
        slices.save_base(tmp_path / "b", shapes_of(params), some)


def test_what_is_read_in_rows_is_proved_against_the_fingerprint(tmp_path):
    params = parameters()
    save_base(tmp_path, params)
    stored = slices.Stored(tmp_path)
    kernel = params["language_model"]["layers"]["mlp"]["kernel"]
    for row, want in enumerate(kernel):
        np.testing.assert_array_equal(stored.read("language_model/layers/mlp/kernel", row), want)
    with pytest.raises(UserError, match="damaged: language_model/norm/scale"):
        stored.verify()  # it has not been read yet
    stored.read("language_model/norm/scale")
    stored.verify()


def test_a_damaged_base_is_not_vouched_for(tmp_path):
    params = parameters()
    save_base(tmp_path, params)
    array = slices.open_array(tmp_path / "base/params", "language_model/norm/scale", write=True)
    array[3].write(np.float32(7)).result()
    stored = slices.Stored(tmp_path)
    for path in stored.forms:
        stored.read(path)
    with pytest.raises(UserError, match="damaged: language_model/norm/scale"):
        stored.verify()


def test_large_parameters_lie_in_chunks_of_a_layer(tmp_path, monkeypatch):
    monkeypatch.setattr(base, "CHUNK_BYTES", 64)
    params = parameters()
    save_base(tmp_path, params)
    array = slices.open_array(tmp_path / "base/params", "language_model/layers/mlp/kernel")
    chunk = array.chunk_layout.read_chunk.shape
    assert chunk[0] == 1 and np.prod(chunk) * 4 <= 64
    assert load_base(tmp_path, params)[1] == fingerprint(params)


def test_the_frame_of_a_large_parameter_takes_no_memory():
    form = jax.ShapeDtypeStruct((32, 4096, 14336), ml_dtypes.bfloat16)
    zeros = slices._zeros(form)
    assert zeros.shape == form.shape and not any(zeros.strides)
    assert slices.rows_per_block(form) == 1
