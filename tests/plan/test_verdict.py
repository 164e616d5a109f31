"""From the command to the plan: what it says of memory, of time, and of evaluation."""

import json

import pytest

from configs import phase1, phase2
from nota_jax.environment import GPU_MEMORY_FRACTION
from nota_jax.models.notagpt import param_shapes
from nota_jax.parallel import hardware
from nota_jax.params import count_params
from nota_jax.plan import report, roofline, verdict, worker, workload
from nota_jax.plan.targets import parse
from nota_jax.training import program


@pytest.fixture(scope="module")
def tiny_plan(tmp_path_factory):
    """Phase 2 at size tiny on four virtual devices, with every line that was said."""
    out, said = tmp_path_factory.mktemp("plan"), []
    config = phase2.get_config("tiny")
    config.data.dir, config.run_dir = str(out / "none"), str(out / "run")
    config.data.tasks = ("extraction",)
    config.data.lengths, config.model.text.vocab_size = (128,), 1024
    config.model.vision.image_size, config.model.vision.most_patches = 112, 36
    config.objective, config.trainable = "answers", ((r".*", True),)
    config.model.text.num_hidden_layers = config.model.vision.num_hidden_layers = 2
    found = verdict.run(config, verdict.Settings("cpu:4", False, out), said.append)
    return out, config, found, said


def test_the_plan_says_what_each_device_holds(tiny_plan):
    _, config, found, _ = tiny_plan
    (measured,) = found["lengths"].values()
    assert list(found["lengths"]) == [128]
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
    read = json.loads(path.with_suffix(".json").read_text())
    assert read["peak"] == found["peak"] and report.name_of(read) == path.name
    assert "| trainable parameters " in path.with_suffix(".md").read_text()
    assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert any("rows are assumed" in line for line in said)
    assert "temporaries" in said[-2]


def test_what_was_measured_is_not_compiled_again(tiny_plan):
    out, config, found, _ = tiny_plan
    said = []
    again = verdict.run(config, verdict.Settings("cpu:4", False, out), said.append)
    assert again["peak"] == found["peak"]
    assert not any(line.startswith("compiling") for line in said)


def test_evaluation_is_planned_too(tiny_plan):
    """Decoding sends activations for each token, not weights, and leaves the optimizer out."""
    _, config, found, said = tiny_plan
    evaluation = found["evaluation"]
    measured = evaluation["measured"]
    assert (evaluation["pages"], evaluation["questions"]) == (8, 6)  # a page a device at least
    assert (
        evaluation["new_tokens"] == config.eval.max_new_tokens and evaluation["verdict"] == "fits"
    )
    assert "optimizer" not in measured["held"]
    step = next(iter(found["lengths"].values()))
    assert measured["held"]["trainable"] == step["held"]["trainable"]
    token = sum(c["sent"] for c in measured["collectives"] if c["token"])
    whole = sum(c["sent"] for c in measured["collectives"] if not c["token"])
    assert 0 < token < whole / 10
    assert "Evaluation, 8 pages of 6 question(s)" in said[-2]


def test_an_evaluation_while_training_is_planned_with_the_optimizer_beside(tiny_plan, monkeypatch):
    out, config, found, _ = tiny_plan
    kept = [json.loads(path.read_text()) for path in (out / "measured").glob("*.json")]
    monkeypatch.setattr(
        worker, "compile_apart",
        lambda job: next(k["result"] for k in kept if ("pages" in k["job"]) == ("pages" in job)),
    )  # fmt: skip
    config = config.copy_and_resolve_references()
    config.eval.every, said = 10, []
    planned = verdict.run(config, verdict.Settings("cpu:4", False, out / "every"), said.append)
    optimizer = planned["lengths"][128]["held"]["optimizer"]
    assert planned["evaluation"]["peak"] == found["evaluation"]["peak"] + optimizer
    assert planned["evaluation"]["margin"] == found["evaluation"]["margin"] - optimizer
    assert "of it are the optimizer's, held while training is evaluated" in said[-2]
    assert "the optimizer's" not in report.heading(found)


def test_a_missing_extra_is_named_and_virtual_devices_answer(tiny_plan, monkeypatch):
    def gone(name):
        raise worker.importlib.metadata.PackageNotFoundError(name)

    out, config, _, _ = tiny_plan
    monkeypatch.setattr(worker.importlib.metadata, "version", gone)
    kept = [json.loads(path.read_text()) for path in (out / "measured").glob("*.json")]
    jobs, said = [], []

    def answer(job):
        jobs.append(job)
        return next(k["result"] for k in kept if ("pages" in k["job"]) == ("pages" in job))

    monkeypatch.setattr(worker, "compile_apart", answer)
    found = verdict.run(config, verdict.Settings("v5e:4", False, out / "virtual"), said.append)
    assert "libtpu not installed" in said[0] and "nota_jax[plan-tpu]" in said[0]
    assert jobs[0]["virtual"] and found["compiled_on"] == "virtual CPU devices"
    assert "rough upper bound" in report.text(found)
    assert found["hours"][0] < found["hours"][1]


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
    question = verdict.Question(config, parse("a100-80gb:8"), work, measure)
    tried = list(verdict.fit(question, lambda _: None))
    shown = [(p["accumulation"], p["remat"], p["verdict"]) for p in tried]
    assert shown[:3] == [
        (1, "full", "tight"),  # 30 + 16 × 3 = 78 of 85
        (1, "dots", "does not fit"),
        (2, "full", "fits"),
    ]
    assert shown[-1] == (8, "none", "fits")  # two rows
    best = min((p for p in tried if p["verdict"] != "does not fit"), key=verdict.cost)
    assert (best["remat"], best["rows_per_device"]) == ("none", 2)


def test_what_fits_is_what_xla_takes_of_a_device():
    target = parse("a100-80gb:8")
    there = target.chip.memory

    def of(needed):
        return verdict.verdict([{"peak": 1}, {"peak": needed}], target)

    given = int(GPU_MEMORY_FRACTION * there)
    assert of(given) == {
        "verdict": "fits", "peak": given, "memory": there, "margin": there - given
    }  # fmt: skip
    assert of(given + 1)["verdict"] == "tight"
    assert of(there + 1)["verdict"] == "does not fit"
    refused = {"held": {"batch": 1}, "out_of_memory": {"needed": None}}
    assert verdict.verdict([refused], target)["verdict"] == "does not fit"


def test_the_roofline_is_the_largest_limit_and_their_sum():
    chip = next(c for c in hardware.CHIPS if c.name == "a100-80gb")
    measured = {
        "devices": 8, "flops_done": 8 * 312e12 * 0.5, "moved": 2039e9 * 0.25,
        "collectives": [
            {"sent": 300e9 * 0.1, "crosses": False, "token": False},
            {"sent": 25e9 * 0.2, "crosses": True, "token": False},
            {"sent": 300e9 * 0.01, "crosses": False, "token": True},
        ],
        "token_flops": 8 * 312e12 * 0.001, "token_moved": 2039e9 * 0.02,
    }  # fmt: skip
    step, token = roofline.step(measured, chip), roofline.token(measured, chip)
    assert step == pytest.approx({"compute": 0.5, "memory": 0.25, "network": 0.3})
    assert token == pytest.approx({"compute": 0.001, "memory": 0.02, "network": 0.01})
    assert roofline.ends(step) == pytest.approx([0.5, 1.05])


def test_hours_follow_from_steps_and_a_mean_step():
    work = workload.Work(6000, 6.0, {1024: 0.75, 2048: 0.25}, "test")
    short = {"compute": 1.0, "memory": 0.5, "network": 0.5}
    times = {1024: short, 2048: {limit: 2 * seconds for limit, seconds in short.items()}}
    found = roofline.phase_time(times, work, questions=60.0, rows=10, epochs=3)
    assert found["steps"] == 300
    assert found["step_s"] == [1.25, 2.5]
    assert found["hours"] == pytest.approx([300 * 1.25 / 3600, 300 * 2.5 / 3600])
    assert found["tokens_per_s"] == pytest.approx([12800 / 2.5, 12800 / 1.25])
    assert found["limits"] == pytest.approx({"compute": 1.25, "memory": 0.625, "network": 0.625})


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ((3.2, 5.3), "3 … 5"),
        ((34.06, 46.63), "30 … 50"),
        ((0.0131, 0.0178), "0.01 … 0.02"),
        ((0.96, 1.3), "about 1"),
        ((14_600, 31_200), "10,000 … 30,000"),
    ],
)
def test_predictions_are_printed_to_the_digit_that_is_known(ends, said):
    assert report.roughly(*ends) == said


def test_without_a_dataset_the_work_is_assumed_and_that_is_said(tmp_path):
    said, config = [], phase2.get_config("7b")
    config.data.dir = str(tmp_path)
    work = workload.work_of(config, said.append)
    assert (work.questions, work.questions_per_row) == (970_000, 6.0)
    assert work.shares == {1024: 0.95, 2048: 0.05}
    assert "assumed" in said[0]
    assert workload.work_of(phase1.get_config("7b"), said.append).shares == {1024: 1.0}
