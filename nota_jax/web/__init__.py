"""What all our HTML pages share: one look, light and dark (`look.css`)."""

from functools import cache
from pathlib import Path


@cache
def look() -> str:
    """The style sheet, which comes before a page's own."""
    return (Path(__file__).parent / "look.css").read_text()
