"""Collectives and memory traffic as read from compiled programs, loops counted as they run."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from nota_jax.plan import hlo, traffic

MINE = 16 * 128 * 4  # bytes that each device holds of the programs' x


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    out = tmp_path_factory.mktemp("hlo") / "texts.json"
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": os.environ["XLA_FLAGS"] + " --xla_force_host_platform_device_count=8",
    }
    script = Path(__file__).with_name("known_collectives.py")
    subprocess.run([sys.executable, script, out], env=environment, check=True, timeout=600)
    return json.loads(out.read_text())


@pytest.mark.parametrize(
    "name, kind, group, count, sent",
    [
        ("sum in a loop of 5", "all-reduce", 4, 5, 5 * 2 * MINE * 3 / 4),
        ("sum over both axes", "all-reduce", 8, 1, 2 * MINE * 7 / 8),
        ("gather in a loop of 3 in one of 2", "all-gather", 4, 6, 6 * 3 * MINE),
        ("scatter", "reduce-scatter", 4, 1, MINE * 3 / 4),
        ("shift", "collective-permute", 2, 1, MINE),
        ("sum over data", "all-reduce", 2, 1, 2 * MINE / 2),
    ],
)
def test_known_collectives_are_found(texts, name, kind, group, count, sent):
    reading = traffic.read(texts[name], [0] * 8)
    (found,) = reading.collectives
    assert (found.kind, found.group, found.count, found.sent) == (kind, group, count, sent)
    assert found.dtype == "f32" and not found.crosses and not found.token


def test_a_group_that_spans_hosts_is_told_from_one_that_does_not(texts):
    hosts = [0] * 4 + [1] * 4  # `data` is the axis between hosts
    (over_fsdp,) = traffic.read(texts["sum in a loop of 5"], hosts).collectives
    (over_data,) = traffic.read(texts["sum over data"], hosts).collectives
    assert (over_fsdp.crosses, over_data.crosses) == (False, True)


@pytest.mark.parametrize(
    "written, groups",
    [
        ("replica_groups={{0,1},{2,3}}", [[0, 1], [2, 3]]),
        ("replica_groups=[2,4]<=[8]", [[0, 1, 2, 3], [4, 5, 6, 7]]),
        ("replica_groups=[4,2]<=[2,4]T(1,0)", [[0, 4], [1, 5], [2, 6], [3, 7]]),
        ("replica_groups=mesh['a'=2,'b'=4] {'b'}", [[0, 1, 2, 3], [4, 5, 6, 7]]),
        ("replica_groups=mesh['a'=2,'b'=4] {'a'}", [[0, 4], [1, 5], [2, 6], [3, 7]]),
        ("replica_groups=mesh['a'=8] {'a':(2)2}", [[0, 2], [1, 3], [4, 6], [5, 7]]),
        (
            "replica_groups=mesh['a'=2,'b'=2], device_ids=([2,2]T(1,0)) {'a'}, x=1",
            [[0, 1], [2, 3]],
        ),
        ("source_target_pairs={{0,1},{1,0}}", [[0, 1], [1, 0]]),
    ],
)
def test_every_way_of_writing_groups_is_read(written, groups):
    assert traffic.groups(f"channel_id=1, {written}, more=2") == groups


def test_a_loop_without_a_written_count_is_read_from_its_counter():
    def until_twelve(x):
        return jax.lax.while_loop(lambda c: c[0] < 12, lambda c: (c[0] + 3, c[1] * 2), (0, x))[1]

    text = jax.jit(until_twelve).lower(jnp.ones(8)).compile().as_text()
    bare = re.sub(r'"known_trip_count":\{"n":"\d+"\}', "", text)
    for version in (text, bare):
        program, entry = hlo.parse(version)
        loops = [(c, i) for c in program for i in program[c] if i.opcode == "while"]
        assert [hlo.trip_count(program, *loop) for loop in loops] == [4]


def test_of_a_loop_whose_end_is_data_one_turn_is_counted_apart():
    def until(x, end):
        return jax.lax.while_loop(lambda c: c[0] < end, lambda c: (c[0] + 1, c[1] * 2), (0, x))[1]

    text = jax.jit(until).lower(jnp.ones(1 << 16), 3).compile().as_text()
    found = traffic.read(text)
    assert 2 * 4 << 16 <= found.token_moved < 3 * 4 << 16  # one reading, one writing


def test_traffic_counts_a_slice_as_what_is_cut_out():
    stack = jax.ShapeDtypeStruct((64, 256, 256), jnp.float32)  # 16.8 MB

    def through(x, stack):
        return jax.lax.scan(lambda x, w: (jnp.dot(x, w), None), x, stack)[0]

    text = jax.jit(through).lower(jnp.ones((8, 256)), stack).compile().as_text()
    moved = traffic.read(text).moved
    whole = 64 * 256 * 256 * 4
    assert whole <= moved < 4 * whole  # read by each layer whole, it would be 64 ×


def test_bytes_of_shapes():
    assert hlo.n_bytes("bf16[3,4]{1,0:T(8,128)(2,1)}") == 24
    assert hlo.n_bytes("(f32[2]{0}, (s32[], pred[7]{0}))") == 8 + 4 + 7
