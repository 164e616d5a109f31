"""The report as people use it: in a real browser, wide and narrow, light and dark, by keyboard."""

import pytest

from nota_jax.tools import screenshot

BROWSER = screenshot.browser()

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed here")


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(params=["report.html", "report/0001.html"])
def page(browser, report, request):
    """Each kind of file, and nothing wrong while it is used, nor asked of a network."""
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    errors, asked = [], []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("console", lambda message: errors.append(message.text))
    tab.on("dialog", lambda dialog: errors.append(dialog.message))
    tab.on("request", lambda found: asked.append(found.url))
    tab.goto((report.parent / request.param).as_uri())
    yield tab
    assert not errors
    assert all(url.startswith(("file:", "data:")) for url in asked)
    tab.close()


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_hangs_over_the_edge(page, width, scheme):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 800})
    page.click("text=Open all")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    widths = "[...document.querySelectorAll('.score')].map(e => e.getBoundingClientRect().width)"
    assert min(page.evaluate(widths)) > 250


def test_everything_can_be_reached_by_keyboard(page):
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    page.click("text=Close all")
    case = page.locator("details.case").nth(1)
    for _ in range(200):
        page.keyboard.press("Tab")
        if case.evaluate("e => e.firstElementChild === document.activeElement"):
            break
    assert not case.evaluate("e => e.open")
    page.keyboard.press("Enter")
    assert case.evaluate("e => e.open")
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(outline) == "solid"


def test_all_cases_open_and_close(page):
    page.click("text=Close all")
    assert page.locator("details.case[open]").count() == 0
    page.click("text=Open all")
    assert page.locator("details.case:not([open])").count() == 0


def test_a_link_to_a_closed_case_opens_it(page):
    page.click("text=Close all")
    last = page.locator("details.case").last
    page.evaluate("id => { location.hash = id }", last.get_attribute("id"))
    page.wait_for_function("id => document.getElementById(id).open", arg=last.get_attribute("id"))


def test_wrong_notes_are_seen(page):
    page.click("text=Open all")
    colours = page.evaluate(
        "['.m.invented', '.m.pitch', '.score'].map(s => getComputedStyle("
        "document.querySelector(s + ' use')).fill)"
    )
    assert len(set(colours)) == 3


def test_letters_can_be_read_in_both_schemes(page):
    """At least 4.5 to 1 (WCAG 2.1, 1.4.3) for text, against what is behind it."""
    page.click("text=Open all")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate(CONTRAST) == []


CONTRAST = """() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const part = (c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const found = rgb(getComputedStyle(e).backgroundColor);
      if (found.length === 3 || found[3] === 1) return found;
    }
    return [255, 255, 255];
  };
  const bad = new Set();
  for (const e of document.querySelectorAll("body *:not(script):not(svg *)")) {
    const text = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!text || e.closest("svg") || !e.getClientRects().length) continue;
    const [a, b] = [light(rgb(getComputedStyle(e).color)), light(behind(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) bad.add(`${e.tagName}.${e.className} ${ratio.toFixed(2)}`);
  }
  return [...bad];
}"""
