"""Reads a page with the shipped model, then trains: dataset, phases 1, 2 and 3 at size tiny.

    make quickstart

About ten minutes on two CPU cores.  Interrupted and started again it continues; finished, it only
prints the summary.
"""

from __future__ import annotations

import importlib
import io
import json
import sys
import time
from pathlib import Path
from typing import Any

from nota_jax import tables
from nota_jax.environment import quiet
from nota_jax.errors import exit_status
from nota_jax.files import write_json

SHIPPED = Path("checkpoints/small")
PHASES = {1: "alignment", 2: "extraction", 3: "analysis"}


def main() -> int:
    quiet()
    return exit_status(run_all, interrupted="`make quickstart` continues")


def run_all() -> None:
    if SHIPPED.is_dir():
        read_a_page()
    print(summary([quick_phase(number) for number in PHASES]))


def read_a_page() -> None:
    """Shows a held-out page to the shipped model and prints what it reads beside what is there."""
    import Levenshtein
    from PIL import Image

    from nota_jax import run  # late: imports jax
    from nota_jax.data.store.reader import PageReader
    from nota_jax.evaluation import predict

    print(f"\n=== a held-out page, read by {SHIPPED} " + "=" * 40, flush=True)
    tiny = importlib.import_module("configs.phase2").get_config("tiny")
    config = shipped(SHIPPED, "runs/shipped", tiny.data.dir)
    config.data.build.update(tiny.data.build)
    prepared = run.prepare(config)
    settings = predict.Settings(
        config.data.dir, ("extraction_test",), questions=6, pages_per_batch=1
    )
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
    lines = ["", "Summary: size tiny, random initial weights, held-out tunes", ""]
    phases = [
        (f"{r['phase']} {PHASES[r['phase']]}", str(r["steps"]), str(r["images"]),
         str(r["questions"]), f"{r['loss']:.3f}" if r["loss"] is not None else "–",
         f"{r['seconds']['train']:.0f}", f"{r['seconds']['evaluate']:.0f}")
        for r in results
    ]  # fmt: skip
    head = ("phase", "steps", "images", "questions", "loss", "train s", "evaluate s")
    lines += [tables.text(head, phases), ""]
    extraction = next(r for r in results if r["phase"] == 2)["scores"]
    fields = []
    for field, rate in extraction["extraction_rate"].items():
        base = extraction["majority_rate"][field]["value"]
        fields.append(
            (field, f"{100 * rate['value']:.1f} %", f"{100 * base:.1f} %",
             f"{100 * (rate['value'] - base):+.1f}", str(rate["asked"]))
        )  # fmt: skip
    columns = ("extraction (phase 2)", "model", "majority", "difference", "asked")
    lines += [tables.text(columns, fields), ""]
    texts = []
    for r in results[:2]:
        for name, d in r["scores"]["levenshtein"].items():
            label = "whole ABC" if name == "abc" else "highlighted bars"
            row = (f"{d['mean']:.1f}", f"{d['mean_length']:.1f}", str(d["asked"]))
            texts.append((f"{label} (phase {r['phase']})", *row))
    lines.append(tables.text(("transcription", "Levenshtein", "empty answer", "asked"), texts))
    seconds = sum(sum(r["seconds"].values()) for r in results)
    lines += ["", f"{seconds / 60:.1f} minutes for the three phases"]
    data = results[0]["dataset"]
    lines += [f"dataset      {data}/contact_sheet.png, {data}/build_report.md"]
    for r in results:
        where = f"{r['run_dir']}/checkpoints, {r['run_dir']}/evaluation_test/predictions.jsonl"
        lines.append(f"phase {r['phase']}      {where}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
