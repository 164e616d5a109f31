"""A report of six whole pages and an analysis, some of them read by somebody hostile."""

import json

import pytest

from nota_jax.data.records import Page, Turn
from nota_jax.data.store import layout
from nota_jax.evaluation import show
from nota_jax.notation import abc
from nota_jax.notation.engraving.layout import engrave
from tests.data.make_dataset import write_pages

HOSTILE = "</title></style></script><script>alert(1)</script>\"'><img src=http://evil.example/x>"
UNSEEN = "a\x00b\u202ec"
FIELDS = {"title": "Rose", "key": "G", "meter": "2/4", "unit_note_length": "1/8",
          "composer": "Ann Lee"}  # fmt: skip


def tune(number, title="Rose"):
    bars = ["GABc", "dBcA", "e2 d2", "G4"]
    bars[number % 4] = "B2 A2"
    return f"X:1\nT:{title} {number}\nC:Ann Lee\nM:2/4\nL:1/8\nK:G\n{'|'.join(bars)}|]\n"


def made_page(number, task, turns, title="Rose"):
    text = tune(number, title)
    metadata = dict.fromkeys(layout.TEXTS, "")
    metadata |= {
        "region": HOSTILE if number == 0 else "Europe", "corpus": "made", "split": "test",
        "staff_spacing": 4.0 + number / 4, "transposition": 0, "abc": text,
        "source_id": f"tune {number}", "highlight": "1-2", "composer_source": "source",
    }  # fmt: skip
    png = engrave(abc.parse(tune(number))).png
    asked = tuple(Turn(task, name, f"What is the {name}?", truth) for name, truth in turns.items())
    return Page(f"{number}/{task}", task, png, asked, metadata)


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """Six whole pages, one of them called like an attack, one analysis."""
    pages = []
    for number in range(6):
        title = HOSTILE if number == 1 else "Rose"
        truths = FIELDS | {"title": f"{title} {number}", "abc": tune(number, title)}
        pages.append(made_page(number, "extraction", truths, title))
    said = {"ending": "The final note is the tonic, G.", "mode": "The tune is in G major."}
    folder = tmp_path_factory.mktemp("show") / "data"
    return write_pages(
        folder, {"extraction_test": pages, "analysis_test": [made_page(6, "analysis", said)],
                 "extraction_train": pages[:1]},
    )  # fmt: skip


@pytest.fixture(scope="session")
def answers(data):
    """Right on page 2, wrong in some way on the others, hostile on 1 and 5."""
    lines = []
    for number in range(6):
        truths = FIELDS | {"title": f"Rose {number}", "abc": tune(number)}
        if number in (1, 5):
            truths = dict.fromkeys(truths, f"{HOSTILE} {UNSEEN}")
        if number == 0:
            truths["title"] = "Ann Lee"
        if number == 3:
            truths["abc"] = truths["abc"].replace("dBcA|", "dBAA|").replace("GABc", "GABc|c4")
        if number == 4:
            truths["abc"] = truths["abc"].replace("e2", 'e2"')
        lines += [
            {"id": f"{number}/extraction:{name}", "prediction": said, "cut": number == 5}
            for name, said in truths.items()
        ]
    analysis = {"ending": "The final note is the tonic, C.", "mode": "The tune is in G major."}
    lines += [
        {"id": f"6/analysis:{name}", "prediction": said, "cut": False}
        for name, said in analysis.items()
    ]
    file = data.parent / "predictions.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def shown(answers, data, *more, out="r"):
    folder = data.parent / out
    status = show.main([str(answers), "--dataset", str(data), "--out", str(folder), *more])
    assert status == 0
    return folder / show.REPORT


@pytest.fixture(scope="session")
def report(answers, data):
    return shown(answers, data, "--full")
