"""Reads a page with the shipped model, then trains: dataset, phases 1, 2 and 3 of tiny from parts.

    make quickstart

About ten minutes on two CPU cores.  Interrupted and started again it continues; finished, it only
prints the summary.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from nota_jax import tables
from nota_jax.environment import quiet
from nota_jax.errors import exit_status
from nota_jax.files import write_json
from nota_jax.units import percent

PARTS = Path("checkpoints/tiny-parts")
REPORT = "report.html"  # what `evaluation.show` calls it
PHASES = {1: "alignment", 2: "extraction", 3: "analysis"}


def main() -> int:
    quiet()
    return exit_status(run_all, interrupted="`make quickstart` continues")


def run_all() -> None:
    from nota_jax.read.asking import SHIPPED  # late: imports jax

    if SHIPPED.is_dir():
        read_a_page(Path(os.path.relpath(SHIPPED)))
    print(summary([quick_phase(number) for number in PHASES]))


def read_a_page(checkpoint: Path) -> None:
    """Shows a held-out page to the shipped model and prints what it reads beside what is there."""
    from PIL import Image
    from rapidfuzz.distance import Levenshtein

    from nota_jax import run  # late: imports jax
    from nota_jax.data.store.reader import PageReader
    from nota_jax.evaluation import predict
    from nota_jax.read.asking import VIEWS

    print(f"\n=== a held-out page, read by {checkpoint} " + "=" * 40, flush=True)
    tiny = importlib.import_module("configs.phase2").get_config("tiny")
    config = shipped(checkpoint, "runs/shipped", tiny.data.dir)
    config.data.build.update(tiny.data.build)
    prepared = run.prepare(config)
    settings = predict.Settings(
        config.data.dir, ("extraction_test",), questions=6, pages_per_batch=1,
        grammar=True, views=VIEWS,
    )  # fmt: skip
    out, params = prepared.directory / "read", run.weights(prepared)
    read = predict.predict(prepared.model, params, prepared.tokenizer, settings, out)
    pages = PageReader(config.data.dir, settings.splits)
    page = next(page for page in pages if read[0].id.startswith(page.id + ":"))
    Image.open(io.BytesIO(page.png)).save(out / "page.png")
    rows = [(p.subtask, p.prediction or "", p.answer) for p in read if p.subtask != "abc"]
    print(f"the page: {out / 'page.png'}\n\n" + tables.text(("", "read", "printed"), rows, left=3))
    for whole in (p for p in read if p.subtask == "abc"):
        answer, printed = (whole.prediction or "").strip(), whole.answer.strip()
        print(f"\nread:\n{answer}\n\nprinted:\n{printed}\n")
        print(f"{Levenshtein.distance(answer, printed)} of {len(printed)} characters wrong")


def shipped(folder: Path, run_dir: str, data: str) -> Any:
    """The configuration to ask the shipped model, which lies in `folder`, about a dataset."""
    config = importlib.import_module("configs.phase2").get_config("small")
    config.init_from = config.tokenizer = str(folder)
    config.run_dir, config.data.dir, config.previous, config.parts = run_dir, data, "", ()
    return config


def quick_phase(number: int) -> dict[str, Any]:
    """Trains and evaluates one phase, or reads what it left if it is done."""
    config = importlib.import_module(f"configs.phase{number}").get_config("tiny")
    done = Path(config.run_dir) / "quickstart.json"
    if done.exists():
        return json.loads(done.read_text())
    from nota_jax import run  # late: imports jax

    print(f"\n=== phase {number}: {PHASES[number]} " + "=" * 40, flush=True)
    start = time.monotonic()
    prepared = run.prepare(config)
    ready = time.monotonic()
    outcome = run.train(prepared)
    if outcome.interrupted:
        raise KeyboardInterrupt
    trained = time.monotonic()
    scores = run.evaluate_run(prepared, outcome.state.params)
    result = {
        "phase": number,
        "steps": outcome.step,
        "images": outcome.totals.images,
        "questions": outcome.totals.questions,
        "loss": outcome.report.get("loss"),
        "seconds": {
            "prepare": ready - start,
            "train": trained - ready,
            "evaluate": time.monotonic() - trained,
        },
        "scores": scores["all"],
        "run_dir": config.run_dir,
        "dataset": config.data.dir,
    }
    write_json(done, result, indent=1)
    return result


def summary(results: list[dict[str, Any]]) -> str:
    """What was done, what it scored on held-out tunes, and where everything lies."""
    lines = ["", f"Summary: size tiny, from the parts in {PARTS}, held-out tunes", ""]
    phases = []
    for r in results:
        wrong = {name: percent(d["normalised"]) for name, d in r["scores"]["levenshtein"].items()}
        loss, spent = r["loss"], r["seconds"]
        phases.append(
            (f"{r['phase']} {PHASES[r['phase']]}", str(r["steps"]), str(r["images"]),
             f"{loss:.3f}" if loss is not None else "–", wrong.get("alignment", percent(None)),
             wrong.get("abc", percent(None)), f"{spent['train']:.0f}", f"{spent['evaluate']:.0f}")
        )  # fmt: skip
    head = ("phase", "steps", "images", "loss", "bars, wrong", "whole ABC, wrong", "train s",
            "evaluate s")  # fmt: skip
    lines += [tables.text(head, phases), ""]
    last = results[-1]
    fields = []
    for field, rate in last["scores"]["extraction_rate"].items():
        model, majority = rate["value"], last["scores"]["majority_rate"][field]["value"]
        row = (percent(model), percent(majority), f"{100 * (model - majority):+.1f}")
        fields.append((field, *row, str(rate["asked"])))
    columns = (f"after phase {last['phase']}", "right", "majority", "difference", "asked")
    lines += [tables.text(columns, fields), ""]
    lines += ["wrong: of an answer's characters, the mean over answers (an empty one: 100 %)"]
    seconds = sum(sum(r["seconds"].values()) for r in results)
    lines += ["", f"{seconds / 60:.1f} minutes for the three phases"]
    data = results[0]["dataset"]
    lines += [f"dataset      {data}/contact_sheet.png, {data}/build_report.md"]
    for r in results:
        where = f"{r['run_dir']}/checkpoints, {r['run_dir']}/evaluation_test/predictions.jsonl"
        lines.append(f"phase {r['phase']}      {where}")
    lines += ["", "to look at, in a browser: figures, charts, and pages beside what was read"]
    lines += [f"             {r['run_dir']}/evaluation_test/{REPORT}" for r in results]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
