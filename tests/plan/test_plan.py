"""The plan: what it measures, predicts and says when a compiler does not answer."""

import dataclasses
import json
import math
import re
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import pytest

from configs import phase1, phase2
from nota_jax.errors import UserError
from nota_jax.models import flops
from nota_jax.models.mistral import CausalLM
from nota_jax.models.notagpt import NotaGPT, param_shapes
from nota_jax.parallel import hardware
from nota_jax.parallel.mesh import make_mesh
from nota_jax.params import count_params, flatten
from nota_jax.plan import compile, report, roofline, verdict, workload
from nota_jax.plan.targets import parse
from nota_jax.training import program
from nota_jax.training.loss import chunked_cross_entropy
from nota_jax.training.optimizer import OptimizerConfig

PHASE_2 = ((r"vision_tower/.*", False), (r".*", True))
ROWS, LENGTH = 6, 20


@pytest.fixture(scope="module")
def lowered(nano_config):
    """`make(chunk, attention)`: the traced and the lowered training step of the nano model."""

    def make(chunk, **changes):
        config = dataclasses.replace(nano_config, **changes)
        phase = program.prepare(
            program.TrainConfig(10, PHASE_2, OptimizerConfig(1e-3), loss_chunk=chunk),
            NotaGPT(config), param_shapes(config), make_mesh(devices=jax.devices()[:1]),
        )  # fmt: skip
        state = phase.abstract_state()
        size = config.vision.image_size
        batch = program.abstract_batch(make_mesh(devices=jax.devices()[:1]), ROWS, LENGTH, size)
        traced = phase.step(state).trace(state, batch)
        return phase, traced, traced.lower()

    return make


# ---- the compiled step


def test_a_planned_batch_is_the_pipelines(nano_batch, nano_config):
    mesh = make_mesh(devices=jax.devices()[:1])
    planned = program.abstract_batch(mesh, ROWS, LENGTH, nano_config.vision.image_size)
    real = nano_batch(ROWS, length=LENGTH)
    assert {k: (x.shape, x.dtype) for k, x in planned.items()} == {
        k: (x.shape, x.dtype) for k, x in real.items()
    }


def test_a_chunked_loss_makes_no_logits_of_the_whole_length(lowered, nano_config):
    vocabulary = nano_config.text.vocab_size
    for chunk, largest in ((4, [1, ROWS, 4, vocabulary]), (LENGTH, [ROWS, LENGTH, vocabulary])):
        phase, _, low = lowered(chunk)
        own = flatten(phase.shapes)
        assert compile.largest_logits(low.as_text(), vocabulary, own) == largest


def test_a_compiled_chunked_loss_makes_no_logits_of_the_whole_length():
    width, vocabulary = 16, 64

    def loss(hidden, kernel, targets, weights, chunk):
        return chunked_cross_entropy(hidden, kernel, targets, weights, chunk=chunk)[0]

    hidden, kernel = jnp.ones((ROWS, LENGTH, width)), jnp.ones((width, vocabulary))
    rest = jnp.zeros((ROWS, LENGTH), jnp.int32), jnp.ones((ROWS, LENGTH))
    for chunk in (4, LENGTH):
        gradient = jax.jit(jax.grad(loss, argnums=(0, 1)), static_argnums=4)
        text = gradient.lower(hidden, kernel, *rest, chunk).compile().as_text()
        sizes = {
            math.prod(map(int, dims.split(",")))
            for dims in re.findall(r"f32\[([\d,]+)\]", text)
            if str(vocabulary) in dims.split(",")
        }
        assert (ROWS * LENGTH * vocabulary in sizes) == (chunk == LENGTH)


@pytest.mark.parametrize(
    ("platform", "kernel"),
    [("gpu", "dot_product_attention_bwd"), ("tpu", "pallas_call"), ("cpu", None)],
)
def test_the_planned_step_takes_the_attention_of_its_target(monkeypatch, platform, kernel):
    """As a run there would, and not that of the process that plans."""
    monkeypatch.setattr(compile.fused_attention_stablehlo, "check_cudnn_version", lambda: 0)
    compile.assume_cudnn()
    config = phase2.get_config("tiny")
    config.model.text.head_dim = 64
    architecture = program.model_config(config, 0, 1024, platform)
    mesh = make_mesh(devices=jax.devices()[:1])
    recipe = program.train_config(config, 10, {})
    shapes = param_shapes(architecture)
    phase = program.prepare(recipe, NotaGPT(architecture), shapes, mesh)
    state = phase.abstract_state(platform)
    batch = program.abstract_batch(mesh, 2, 128, architecture.vision.image_size)
    traced = str(phase.step(state).trace(state, batch).jaxpr)
    for other in ("dot_product_attention_bwd", "pallas_call"):
        assert (other in traced) == (other == kernel)


@pytest.mark.parametrize(("chunk", "again"), [(LENGTH, 0), (4, 1)])
def test_counted_operations_are_the_mathematics_and_a_chunked_loss_twice(
    lowered, nano_config, chunk, again
):
    _, traced, _ = lowered(chunk, attention="reference")
    trains = {"vision_tower": False, "multi_modal_projector": True, "language_model": True}
    asked = flops.step_flops(nano_config, ROWS, LENGTH, trains)
    text, width = nano_config.text, nano_config.text.hidden_size
    head = again * 2 * LENGTH * width * text.vocab_size  # made again in the backward pass
    # step_flops leaves out that the connector's second map hands a gradient to its first.
    inside = 2 * nano_config.vision.num_patches * width**2
    done = flops.traced_flops(traced.jaxpr)
    assert done == pytest.approx(asked + ROWS * (head + inside), rel=1e-3)


def test_counted_operations_of_a_layer_are_xlas(nano_config):
    config = dataclasses.replace(
        nano_config,
        attention="reference",
        text=dataclasses.replace(
            nano_config.text, hidden_size=256, intermediate_size=512, head_dim=64,
            num_hidden_layers=1, vocab_size=64,
        ),
    )  # fmt: skip
    length = 128
    shapes = param_shapes(config)["language_model"]

    def run(params, x, ids, positions):
        return CausalLM(config).apply({"params": params}, x, ids, positions)

    x = jax.ShapeDtypeStruct((2, length, 256), jnp.float32)
    ids = jax.ShapeDtypeStruct((2, length), jnp.int32)
    counted = flops.traced_flops(jax.make_jaxpr(run)(shapes, x, ids, ids))
    # XLA also counts the element-wise operations; a scan of one layer counts once, as it should.
    by_xla = jax.jit(run).lower(shapes, x, ids, ids).compile().cost_analysis()["flops"]
    assert counted <= by_xla <= 1.05 * counted
    head = 2 * length * 256 * 64
    assert counted == pytest.approx(2 * (flops.forward_flops(config, length).text - head))


# ---- from the command to the answer


@pytest.fixture(scope="module")
def tiny_plan(tmp_path_factory):
    """Phase 2 at size tiny on four virtual devices, with every line that was said."""
    out, said = tmp_path_factory.mktemp("plan"), []
    config = phase2.get_config("tiny")
    config.data.dir, config.run_dir = str(out / "none"), str(out / "run")
    config.data.lengths, config.model.text.vocab_size = (128,), 1024
    config.model.vision.image_size = 112
    config.model.text.num_hidden_layers = config.model.vision.num_hidden_layers = 2
    found = verdict.run(config, verdict.Settings("cpu:4", False, out), said.append)
    return out, config, found, said


def test_the_plan_says_what_each_device_holds(tiny_plan):
    _, config, found, _ = tiny_plan
    (measured,) = found["lengths"].values()
    assert found["mesh"] == {"data": 1, "fsdp": 4, "tensor": 1}
    assert found["rows"] % 4 == 0 and found["verdict"] == "fits"
    held = measured["held"]
    architecture = program.model_config(config, 0, 1024)
    whole = 4 * count_params(param_shapes(architecture))
    assert whole / 4 < held["trainable"] < 0.3 * whole  # what is too small to cut is everywhere
    assert held["optimizer"] == pytest.approx(2 * held["trainable"], rel=0.01)
    assert sum(held.values()) == pytest.approx(measured["arguments"], rel=0.01)
    assert measured["peak"] >= measured["arguments"] + measured["temporaries"]
    # Gradients are summed and parameters gathered: at least each parameter once, both ways.
    sent = sum(c["sent"] for c in measured["collectives"])
    assert sent > 1.5 * whole * 3 / 4
    assert not any(c["token"] for c in measured["collectives"])  # each loop's end is known


def test_the_plan_is_left_as_json_markdown_and_chart(tiny_plan):
    out, _, found, said = tiny_plan
    path = out / "phase2_tiny_cpu-4"
    assert json.loads(path.with_suffix(".json").read_text())["peak"] == found["peak"]
    assert "| trainable parameters |" in path.with_suffix(".md").read_text()
    assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert any("rows are assumed" in line for line in said)
    assert "temporaries" in said[-2]


def test_what_was_measured_is_not_compiled_again(tiny_plan):
    out, config, found, _ = tiny_plan
    said = []
    again = verdict.run(config, verdict.Settings("cpu:4", False, out), said.append)
    assert again["peak"] == found["peak"]
    assert not any(line.startswith("compiling") for line in said)


# ---- the search


def test_the_search_takes_the_largest_rows_and_the_cheapest_remat_that_fit():
    """Memory as a model: what is held, and a row's activations by rematerialisation."""
    per_row = {"full": 3, "dots": 9, "none": 20}
    work_s = {"full": 4.0, "dots": 3.2, "none": 3.0}

    def measure(job):
        remat, accumulation = job["config"]["model"]["remat"], job["config"]["data"]["accumulation"]
        rows = job["rows"] // 8 // accumulation
        return {
            "held": {}, "peak": (30 + per_row[remat] * rows) * 10**9, "moved": 0, "collectives": [],
            "flops_done": work_s[remat] * 8 * 312e12 * job["rows"] / 128, "devices": 8,
            "mesh": {"data": 1, "fsdp": 8, "tensor": 1},
        }  # fmt: skip

    config = phase2.get_config("7b")
    work = workload.Work(1000, 1.0, {1024: 1.0}, "test")
    tried = list(verdict.fit(config, parse("a100-80gb:8"), work, measure, False, lambda _: None))
    shown = [(p["accumulation"], p["remat"], p["verdict"]) for p in tried]
    assert shown[:3] == [
        (1, "full", "tight"),  # 30 + 16 × 3 = 78 of 85
        (1, "dots", "does not fit"),
        (2, "full", "fits"),
    ]
    assert shown[-1] == (8, "none", "fits")  # two rows
    best = min((p for p in tried if p["verdict"] != "does not fit"), key=verdict._cost)
    assert (best["remat"], best["rows_per_device"]) == ("none", 2)


def test_memory_beyond_the_target_does_not_fit_and_the_reserve_is_kept():
    there = 80 * 10**9
    assert verdict.verdict(70 * 10**9, there, False) == {"verdict": "fits", "margin": 10 * 10**9}
    assert verdict.verdict(75 * 10**9, there, False)["verdict"] == "tight"
    assert verdict.verdict(81 * 10**9, there, False)["verdict"] == "does not fit"
    assert verdict.verdict(10 * 10**9, there, True)["verdict"] == "does not fit"


def test_what_xla_refuses_is_read_from_its_words():
    words = (
        "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO "
        "temporaries (390.62G) exceeds available HBM (15.75G)."
    )
    assert compile._needed(words)["needed"] == int(390.62 * 2**30)
    words = (
        "RESOURCE_EXHAUSTED: … Ran out of memory in memory space hbm. Used 21.50G of 15.75G hbm."
    )
    assert compile._needed(words)["needed"] == int(21.5 * 2**30)
    assert compile._needed("RESOURCE_EXHAUSTED")["needed"] is None


# ---- predicted time


def test_the_roofline_is_the_largest_limit_and_their_sum():
    chip = next(c for c in hardware.CHIPS if c.name == "a100-80gb")
    measured = {
        "devices": 8, "flops_done": 8 * 312e12 * 0.5, "moved": 2039e9 * 0.25,
        "collectives": [
            {"sent": 300e9 * 0.1, "crosses": False},
            {"sent": 25e9 * 0.2, "crosses": True},
        ],
    }  # fmt: skip
    times = roofline.predict(measured, chip)
    assert times == pytest.approx(
        {"compute": 0.5, "memory": 0.25, "network": 0.3, "low": 0.5, "high": 1.05}
    )


def test_hours_follow_from_steps_and_a_mean_step():
    work = workload.Work(6000, 6.0, {1024: 0.75, 2048: 0.25}, "test")
    limits = {"compute": 1.0, "memory": 1.0, "network": 1.0}
    times = {1024: {"low": 1.0, "high": 2.0} | limits, 2048: {"low": 2.0, "high": 4.0} | limits}
    found = roofline.phase_time(times, work, questions=60.0, rows=10, epochs=3)
    assert found["steps"] == 300
    assert found["step_s"] == [1.25, 2.5]
    assert found["hours"] == pytest.approx([300 * 1.25 / 3600, 300 * 2.5 / 3600])
    assert found["tokens_per_s"] == pytest.approx([12800 / 2.5, 12800 / 1.25])


def test_without_a_dataset_the_work_is_assumed_and_that_is_said(tmp_path):
    said, config = [], phase2.get_config("7b")
    config.data.dir = str(tmp_path)
    work = workload.work_of(config, said.append)
    assert (work.questions, work.questions_per_row) == (970_000, 6.0)
    assert work.shares == {1024: 0.95, 2048: 0.05}
    assert "assumed" in said[0]
    assert workload.work_of(phase1.get_config("7b"), said.append).shares == {1024: 1.0}


# ---- compilers that do not answer


def job(target="v5e:16"):
    return {"config": {}, "target": target, "virtual": False, "rows": 8, "length": 32}


def dying(how):
    return (sys.executable, "-c", f"import os, sys, signal\n{how}")


@pytest.mark.parametrize(
    "how, said",
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "crashed (SIGSEGV), on NVIDIA targets mostly"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "crashed (SIGKILL), mostly because this host's"),
        ("sys.exit('ValueError: no such topology')", "failed: ValueError: no such topology"),
        ("sys.exit(0)", "failed: it said nothing"),
    ],
)
def test_a_compiler_that_dies_becomes_a_sentence(how, said):
    with pytest.raises(UserError) as caught:
        verdict.compile_apart(job(), dying(how))
    assert said in str(caught.value) and "v5e:16" in str(caught.value)


def test_a_lock_that_is_held_becomes_a_sentence():
    # libtpu's own words.
    words = "ABORTED: Internal error when accessing libtpu multi-process lockfile. Run ..."
    with pytest.raises(UserError, match="holds the TPU compiler's lock"):
        verdict.compile_apart(job(), dying(f"sys.exit({words!r})"))


def test_a_compiler_without_end_becomes_a_sentence(monkeypatch):
    monkeypatch.setattr(verdict, "TIMEOUT_S", 0.5)
    with pytest.raises(UserError, match="no answer after"):
        verdict.compile_apart(job(), dying("import time; time.sleep(60)"))


def test_a_compiler_ends_with_the_process_that_asked_it(tmp_path):
    """Else a killed plan would hold libtpu's lock until its compiler is done."""
    worker = (
        "import time; from nota_jax.plan import compile as p; p._end_with_parent();"
        f"open({str(tmp_path / 'up')!r}, 'w').close(); time.sleep(60)"
    )
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {worker!r}])"
    asking = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE)
    while not (tmp_path / "up").exists():
        assert asking.poll() is None
        time.sleep(0.1)
    asking.kill()
    asking.communicate(timeout=20)  # the worker holds the other end of the pipe until it ends


def test_a_mistake_that_only_the_worker_sees_stays_a_sentence(tmp_path):
    config = json.loads(phase2.get_config("tiny").to_json_best_effort())
    config["mesh"]["tensor"] = 3
    with pytest.raises(UserError, match="tensor 3 needs 3 devices or a divisor"):
        verdict.compile_apart(job("cpu:4") | {"config": config})


def test_a_missing_extra_is_named_and_virtual_devices_answer(tiny_plan, monkeypatch):
    def gone(name):
        raise verdict.importlib.metadata.PackageNotFoundError(name)

    out, config, _, _ = tiny_plan
    monkeypatch.setattr(verdict.importlib.metadata, "version", gone)
    jobs, said = [], []
    (measured,) = (json.loads(p.read_text())["result"] for p in (out / "measured").glob("*.json"))
    monkeypatch.setattr(verdict, "compile_apart", lambda job: jobs.append(job) or measured)
    found = verdict.run(config, verdict.Settings("v5e:4", False, out / "virtual"), said.append)
    assert "libtpu not installed" in said[0] and "nota_jax[plan-tpu]" in said[0]
    assert jobs[0]["virtual"] and found["compiled_on"] == "virtual CPU devices"
    assert "rough upper bound" in report.text(found)
    assert found["hours"][0] < found["hours"][1]


def test_signals_that_have_no_hint_show_the_last_words():
    said = verdict.why_it_died("h200:8", -signal.SIGABRT, "first\nCheck failed: x\n")
    assert "SIGABRT" in said and "Check failed: x" in said
