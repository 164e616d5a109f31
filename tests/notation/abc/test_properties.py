"""What holds for every tune: properties on random tunes, random text, and the corpus."""

from __future__ import annotations

import dataclasses
import re
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nota_jax.data.build import corpora
from nota_jax.notation.abc import AbcError, canonical, parse, unit_note_length, write, write_body
from nota_jax.notation.tune import Tune
from nota_jax.notation.walk import sounding_notes
from tests.notation.tune_strategies import tunes

_relaxed = settings(deadline=None, derandomize=True)


def _drawn(tune: Tune) -> Tune:
    """The tune without what the page does not show."""
    return dataclasses.replace(tune, metadata=(), unit=Fraction(1, 8), reference="1")


@given(tunes())
@settings(_relaxed, max_examples=120)
def test_a_written_tune_is_read_as_the_same_tune(tune):
    assert parse(write(tune)) == tune


@given(tunes())
@settings(_relaxed, max_examples=40)
def test_without_line_breaks_only_the_line_breaks_are_lost(tune):
    bars = tuple(dataclasses.replace(bar, line_break=False) for bar in tune.bars)
    assert parse(write(tune, breaks=False)) == dataclasses.replace(tune, bars=bars)


@given(tunes(), st.data())
@settings(_relaxed, max_examples=40)
def test_a_region_is_a_piece_of_the_whole(tune, data):
    """Up to the barline between them, which one sign can share with a start-repeat or ending."""
    cut = data.draw(st.integers(0, len(tune.bars) - 1))
    parts = [write_body(tune, range(0, cut)), write_body(tune, range(cut, len(tune.bars)))]
    signs = re.compile(r"[\s|:\[\]]")
    lyrics = re.compile(r"^w:.*$", re.MULTILINE)
    whole = signs.sub("", lyrics.sub("", write_body(tune)))
    assert signs.sub("", "".join(lyrics.sub("", part) for part in parts)) == whole


@given(st.text(max_size=300))
@settings(_relaxed, max_examples=200)
def test_any_text_is_read_or_refused_with_a_reason(text):
    _read_or_refuse(text)


_CODE = st.text("ABGcdgz|:[]()/0123<>-{}\"^_=xZ!~.T\\ \n&%+,'MKLw*`", max_size=60)


@given(_CODE)
@settings(_relaxed, max_examples=1500)
def test_any_music_code_is_read_or_refused_with_a_reason(code):
    _read_or_refuse(f"X:1\nM:6/8\nL:1/8\nK:D\n{code}")


@given(st.sampled_from("XTCMLQKVUwWmsdIPNR+"), st.text("0129/=|CAbGmix#^_ \"'\\&;<!~", max_size=12))
@settings(_relaxed, max_examples=800)
def test_any_field_is_read_or_refused_with_a_reason(letter, text):
    _read_or_refuse(f"X:1\n{letter}:{text}\nK:D\nAB|\n{letter}:{text}\ncd|[{letter}:{text}]e|")


def _read_or_refuse(text: str) -> None:
    """Nothing but `AbcError`; and whatever is read can be written and read again."""
    try:
        tune = parse(text)
    except AbcError as error:
        assert error.message
        assert 0 <= error.line <= text.count("\n") + text.count("\r") + 2
        return
    again = parse(write(tune))
    assert _drawn(again) == _drawn(tune)
    assert write(again) == write(tune)


@pytest.fixture(scope="module")
def corpus():
    return list(corpora.read())


def test_at_least_99_percent_of_the_corpus_are_read(corpus):
    assert len({(source.file, source.line) for source in corpus}) == len(corpus) == 12_949
    refused = []
    for source in corpus:
        try:
            parse(source.text, source=source.file, line=source.line)
        except AbcError as error:
            assert error.source == source.file
            assert error.tune
            assert source.line <= error.line <= source.line + source.text.count("\n")
            refused.append(error)
    assert len(refused) <= len(corpus) // 100


def test_a_sample_of_the_corpus_keeps_its_notes(corpus):
    for source in corpus[::50]:
        try:
            tune = parse(source.text)
        except AbcError:
            continue
        written = write(tune)
        again = parse(written)
        assert write(again) == canonical(written) == written
        assert _drawn(again) == _drawn(tune)
        assert sounding_notes(again) == sounding_notes(tune)
        assert unit_note_length(again) == unit_note_length(tune) == again.unit
