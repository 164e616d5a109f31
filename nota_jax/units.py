"""Sizes, durations and shares as people read them."""

from __future__ import annotations

import math

GIB = 2**30


def human_bytes(n: float) -> str:
    """1536 → "1.5 KB"; decimal units, as disks and accelerators are sold."""
    for unit in ("B", "KB", "MB", "GB"):
        if n < 1000:
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1000
    return f"{n:.1f} TB"


def duration(seconds: float) -> str:
    """75 → "1:15", 4000 → "1:06:40"."""
    minutes, seconds = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def rough_time(seconds: float) -> str:
    """What an estimate is worth: 200 → "3 minutes", 9000 → "2.5 hours"."""
    minutes = max(1, round(seconds / 60))
    if minutes < 100:
        return f"{minutes} minute{'s' * (minutes > 1)}"
    return f"{seconds / 3600:.1f} hours"


def percent(share: float | None) -> str:
    """0.345 → "34.5 %"; None, where there was nothing to measure, → "–"."""
    return "–" if share is None else f"{100 * share:.1f} %"
