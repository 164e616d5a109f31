"""The page as people use it: looked at, clicked, played and edited in a real browser."""

from pathlib import Path

import pytest
from PIL import Image

from nota_jax.read import files
from nota_jax.read.reader import Bar, Reading
from nota_jax.tools import screenshot

ABC = "X:1\nT:A Tune\nM:3/4\nL:1/4\nK:G\nGAB|c2 d|\nd3|G3|]"
STARTS = [(31, 35), (35, 40), (41, 44), (44, 48)]
BROWSER = screenshot.browser()

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed here")


@pytest.fixture(scope="module")
def page_file(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    bars = tuple(
        Bar(n + 1, *where, sure, (0.2 * n, 0.2, 0.2 * n + 0.2, 0.4), problem)
        for n, (where, sure, problem) in enumerate(
            zip(STARTS, (0.9, 0.3, 0.9, 0.9), ("", "", "too long", ""), strict=True)
        )
    )
    picture = Image.new("L", (600, 400), 255)
    reading = Reading("tune", ABC, {}, bars, ("straightened",), picture, 1, {}, "small")
    files.write(reading, folder)
    return folder / "tune.html"


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=BROWSER,
            args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"],
        )
        yield running
        running.close()


@pytest.fixture
def page(browser, page_file):
    """The page, and no error while it is used."""
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    errors, asked = [], []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(page_file.as_uri())
    tab.wait_for_selector("#engraved svg")
    yield tab
    assert not errors
    assert all(url.startswith(("file:", "data:", "blob:")) for url in asked)
    tab.close()


def test_picture_and_engraving_show_the_same_bars(page):
    assert page.locator("#picture .bar").count() == 4
    assert page.locator("#engraved .abcjs-note").count() == 7
    assert "1 does not add up" in page.inner_text("#said")
    assert page.locator("#doubts button").all_inner_texts() == [
        "bar 2: 30 % sure", "bar 3: too long",
    ]  # fmt: skip
    assert page.locator("#engraved .abcjs-note.wrong").count() == 1


def test_a_click_marks_the_bar_in_both(page):
    page.click('#picture [data-bar="1"]')
    assert page.locator("#engraved .abcjs-note.chosen").count() == 2
    assert page.inner_text("#where") == "bar 2"
    page.hover('#picture [data-bar="3"]')
    assert page.locator("#engraved .abcjs-note.over").count() == 1


def test_the_keyboard_goes_from_bar_to_bar(page):
    for key in ("ArrowRight", "ArrowRight", "Shift+ArrowRight"):
        page.keyboard.press(key)
    assert page.inner_text("#where") == "bars 2–3"
    page.keyboard.press("Escape")
    assert page.inner_text("#where") == "all bars"


def test_it_plays_with_a_cursor_and_stops(page):
    page.click("#play")
    page.wait_for_selector("#engraved .now")
    assert page.inner_text("#play").strip().endswith("Stop")
    page.wait_for_function("document.querySelector('#picture [data-bar=\"1\"].now')")
    page.keyboard.press("Escape")
    page.wait_for_function("!document.querySelector('.now')")
    assert page.inner_text("#play").strip().endswith("Play")


def test_a_loop_comes_again(page):
    page.click('#picture [data-bar="2"]')
    page.check("#loop")
    page.fill("#tempo", "200")
    page.click("#play")
    for _ in range(2):
        page.wait_for_selector("#engraved .now")
        page.wait_for_function("!document.querySelector('#engraved .now')")
    page.click("#play")


def test_the_engraving_follows_the_text(page):
    page.fill("#abc", ABC.replace("c2 d", "cde"))
    page.wait_for_function("document.querySelectorAll('#engraved .abcjs-note').length === 8")
    assert page.locator("#doubts button").count() == 0  # they were about another text
    page.fill("#abc", ABC)
    page.wait_for_function("document.querySelectorAll('#doubts button').length === 2")


@pytest.mark.parametrize("ending, begins", [("abc", b"X:1"), ("xml", b"<?xml"), ("mid", b"MThd")])
def test_files_can_be_saved(page, ending, begins):
    with page.expect_download() as download:
        page.click(f"#save-{ending}")
    assert Path(download.value.path()).read_bytes().startswith(begins)


def test_an_edited_tune_is_saved_as_it_is(page):
    page.fill("#abc", ABC.replace("c2 d", "cde"))
    page.wait_for_function("document.querySelectorAll('#engraved .abcjs-note').length === 8")
    with page.expect_download() as download:
        page.click("#save-mid")
    assert Path(download.value.path()).read_bytes().startswith(b"MThd")


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_hangs_over_the_edge(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_dark_mode_is_dark(browser, page_file):
    tab = browser.new_page(color_scheme="dark")
    tab.goto(page_file.as_uri())
    colour = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(int(x) for x in colour[4:-1].split(",")[:3]) < 60
    tab.close()
