"""Charts and the choice of pages, from answers made by hand."""

import re
import xml.etree.ElementTree as ET

import pytest

from nota_jax.evaluation.answers import Answer
from nota_jax.evaluation.display import cases, charts, overview
from nota_jax.evaluation.display.charts import Dot, Group, Row
from nota_jax.evaluation.display.pictures import pictures
from nota_jax.evaluation.summary import score, summarise

BARS = ["GABc", "dBcA", "e2 d2", "G4"]


def page(*bars):
    return "X:1\nT:Rose\nC:Ann Lee\nM:2/4\nL:1/8\nK:G\n" + "|".join(bars) + "|]\n"


PAGE = page(*BARS)


def answer(subtask, truth, said, of="p", **about):
    about = {"abc": PAGE, "region": "Europe", "split": "test", "staff_spacing": 5.5} | about
    return Answer(f"{of}:{subtask}", of, subtask, truth, said, about=about, cut=False)


def scored(*answers):
    return score(answers, {"key": "G"})


def elements(svg, tag, **attributes):
    found = ET.fromstring(str(svg)).iter(tag)
    return [e for e in found if all(e.get(k) == v for k, v in attributes.items())]


def test_a_row_has_its_dot_where_its_share_is():
    """From 112 (0 %) to 340 (100 %)."""
    svg = charts.rows([Row("key", (Dot(0.5, 0.25, 0.75),), trivial=0.0)], "fields")
    (dot,) = elements(svg, "circle")
    assert float(dot.get("cx")) == pytest.approx((112 + 340) / 2)
    (whisker,) = elements(svg, "path", **{"class": "whisker"})
    assert whisker.get("d").startswith("M169.0") and whisker.get("d").endswith("H283.0")
    (trivial,) = elements(svg, "path", **{"class": "trivial"})
    assert trivial.get("d").startswith("M112.0")
    assert svg.count("<title>key: 50.0 % (25.0 % to 75.0 %)") == 1


def test_charts_escape_what_they_show():
    hostile = "</svg><script>alert(1)</script>"
    for svg in (
        charts.rows([Row(hostile, (Dot(1, 1, 1),), note=hostile)], hostile),
        charts.scatter([(1.0, 0.5, hostile)], [], hostile, hostile),
    ):
        assert "<script" not in svg
        ET.fromstring(str(svg))


def test_pages_above_the_edge_stand_at_it_and_groups_where_they_are():
    points = [(4.0, 0.1, "a"), (5.0, 0.2, "b"), (6.0, 40.0, "one that goes on and on")]
    groups = [Group(4.0, 5.0, Dot(0.15, 0.1, 0.2), 2)]
    svg = charts.scatter(points, groups, "error", "pixels")
    (out,) = elements(svg, "circle", **{"class": "point out"})
    assert float(out.get("cy")) == 12 and "4000" not in svg.replace("one that", "")
    assert "4 to 5: 15.0 % (10.0 % to 20.0 %), 2 pages" in svg


@pytest.mark.parametrize("points", [[], [(5.0, 0.0, "one")], [(5.0, 0.3, "a"), (5.0, 0.3, "b")]])
def test_charts_of_hardly_anything(points):
    ET.fromstring(str(charts.scatter(points, [], "error", "pixels")))


def test_the_best_and_the_worst_pages_are_those():
    wrong = {"a": 0, "b": 1, "c": 3, "d": 2, "e": 4, "f": 4}
    found = pictures(
        scored(*(
            answer("abc", PAGE, page(*["z4"] * n, *BARS[n:]), of) for of, n in wrong.items()
        ))
    )  # fmt: skip
    assert found[0].kind == "whole pages" and found[0].error == 0
    sections = {s.name: [c.picture.id for c in s.cases] for s in cases.sections(found)}
    assert sections["Whole pages: best"] == ["a", "b"]
    assert sections["Whole pages: median"] == ["d", "c"]
    assert set(sections["Whole pages: worst"]) == {"e", "f"}


def test_of_one_page_there_is_a_best_only():
    found = cases.sections(pictures(scored(answer("abc", PAGE, PAGE))))
    assert [s.name for s in found if s.cases] == ["Whole pages: best"]


def modes(*answers):
    """Those that an answer shows."""
    return {s.name: s for s in cases.sections(pictures(scored(*answers))) if s.failed}


@pytest.mark.parametrize(
    ("mode", "subtask", "truth", "said"),
    [
        ("Answered with the composer, or with the title", "title", "Rose", "Ann Lee"),
        ("“None is printed”, said of what is", "title", "Rose", "No title is printed."),
        ("Named, but not printed", "key", "none", "G"),
        ("Notes that are not there", "abc", PAGE, page(*BARS, "A2")),
        ("Bars that are not there", "abc", PAGE, page(*BARS, "A4")),
        ("Notes missing", "abc", PAGE, page("GAB", *BARS[1:])),
        ("Bars missing", "abc", PAGE, page(*BARS[1:])),
        ("Wrong pitches", "abc", PAGE, page("GABd", *BARS[1:])),
        ("Wrong lengths", "abc", PAGE, page(*BARS[:3], "G2")),
        ("Bars that disagree with the meter", "abc", PAGE, page("GABcd", *BARS[1:])),
        ("No valid ABC", "abc", PAGE, PAGE + '"no end|'),
        ("Text differs, all of the music is right", "abc", PAGE, PAGE.replace("Rose", "Lily")),
        ("Wrong meter", "meter", "2/4", "3/4"),
        ("No answer", "meter", "2/4", None),
    ],
)
def test_every_failure_mode_finds_its_answer_and_no_right_one(mode, subtask, truth, said):
    right = answer(subtask, truth, truth, "right")
    section = modes(right, answer(subtask, truth, said, "wrong"))[mode]
    assert [case.picture.id for case in section.cases] == ["wrong"]
    assert (section.failed, section.asked) == (1, 2)
    assert not modes(right)


def test_a_failure_mode_that_nobody_shows_is_counted_all_the_same():
    found = cases.sections(pictures(scored(answer("meter", "2/4", "2/4"))))
    ((name, cases_of, asked),) = [(s.name, s.cases, s.asked) for s in found if "meter" in s.name]
    assert (name, cases_of, asked) == ("Wrong meter", (), 1)


def test_a_failure_mode_shows_the_worst_of_different_tunes_that_were_not_shown():
    answers = [answer("key", "G", "G", f"right {n}") for n in range(9)]
    answers += [answer("meter", "2/4", "3/4", f"wrong {n}") for n in range(9)]
    shown = cases.sections(pictures(scored(*answers)))
    ids = [case.picture.id for section in shown for case in section.cases]
    assert len(ids) == len(set(ids)) == 8


def test_figures_stand_with_their_intervals_baselines_and_counts():
    of = scored(answer("key", "G", "G", "a"), answer("key", "D", "Am", "b"))
    summary = summarise(of)
    ((section, lines),) = overview.tables(summary["figures"])
    assert section == "Extraction"
    strict = next(line for line in lines if line.name == "key, strict")
    assert (strict.value, strict.trivial, strict.count) == ("50.0 %", "50.0 %", 2)
    assert strict.interval == "0.0 … 100.0 %"
    titles = [chart.title for chart in overview.all_charts(summary, pictures(of))]
    assert titles == ["How reliable each field is"]


def test_charts_by_group_and_against_spacing_and_length():
    answers = [
        answer(task, truth, truth, f"{region} {task}", region=region, staff_spacing=spacing)
        for region, spacing in (("China", 4.2), ("Europe", 5.5))
        for task, truth in (("abc", PAGE), ("title", "Rose"))
    ]
    of = scored(*answers)
    made = {chart.title: chart for chart in overview.all_charts(summarise(of), pictures(of))}
    assert {"Error against staff spacing", "Error against the length", "By region"} <= set(made)
    assert re.findall(r"(China|Europe):", made["By region"].svg) == ["China", "Europe"]
    spacing = made["Error against staff spacing"].svg
    assert (
        "4.2 to 4.2: 0.0 % (0.0 % to 0.0 %), 1 pages" in spacing
        and len(elements(spacing, "circle")) == 4
    )


def test_the_matrix_of_confusion():
    of = scored(answer("title", "Rose", "Ann Lee", "a"), answer("title", "Rose", "Rose", "b"))
    ((field, count, cells),) = overview.confusion(summarise(of)["figures"])
    assert (field, count) == ("title", 2)
    assert [share for _, share in cells] == [0.5, 0.5, 0, 0, 0]
