"""The quickstart's summary: what was done and what it scored, from what the phases left."""

from nota_jax import quickstart
from nota_jax.evaluation.show import REPORT


def result(phase, **scores):
    rates = {"key": {"value": 0.8, "asked": 40}}
    return {
        "phase": phase, "steps": 300, "images": 2400, "questions": 2400, "loss": 1.25,
        "seconds": {"prepare": 1.0, "train": 60.0, "evaluate": 14.0},
        "scores": {
            "extraction_rate": rates if phase > 1 else {},
            "majority_rate": {"key": {"value": 0.3, "asked": 40}},
            "levenshtein": scores,
        },
        "run_dir": f"runs/tiny/phase{phase}", "dataset": "data/tiny",
    }  # fmt: skip


def test_the_summary_names_every_phase_and_the_last_ones_fields():
    bars, page = {"normalised": 0.3456}, {"normalised": 0.4}
    results = [result(1, alignment=bars), result(2, alignment=bars, abc=page), result(3, abc=page)]
    text = quickstart.summary(results)
    first, second, third = (
        next(line for line in text.splitlines() if line.startswith(f"{n} ")) for n in (1, 2, 3)
    )
    assert first.split() == ["1", "alignment", "300", "2400", "1.250", "34.6", "%", "–", "60", "14"]
    assert "34.6 %" in second and "40.0 %" in second and "–" in third
    key = next(line for line in text.splitlines() if line.startswith("key"))
    assert key.split() == ["key", "80.0", "%", "30.0", "%", "+50.0", "40"]
    assert "after phase 3" in text and "3.8 minutes for the three phases" in text
    assert "runs/tiny/phase2/evaluation_test/predictions.jsonl" in text
    assert text.splitlines()[-1].strip() == f"runs/tiny/phase3/evaluation_test/{REPORT}"
