"""Kinds of values: what one may be, and how that is said to whoever gave another.

Numbers are finite, True is no number, and a text is not taken for one.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

LONGEST_NAME = 255  # bytes of a file's name, on all common file systems


@dataclass(frozen=True)
class Kind:
    """needed: as the user reads it; holds: whether a value is of this kind."""

    needed: str
    holds: Callable[[Any], bool]


def whole(least: int, most: int | None = None, also: int | None = None, even: bool = False) -> Kind:
    """A whole number; also: one more that is allowed."""
    wanted = f"{least} to {most}" if most is not None else f"{least} or more"
    kind = "an even number" if even else "a whole number"

    def holds(x: Any) -> bool:
        if not isinstance(x, int) or isinstance(x, bool):
            return False
        return x == also or (least <= x and (most is None or x <= most) and not (even and x % 2))

    return Kind(f"{kind}, {wanted}" + (f", or {also}" if also is not None else ""), holds)


def number(
    least: float, most: float = math.inf, *, above: bool = False, below: bool = False
) -> Kind:
    """A finite number; above, below: the bounds themselves are outside."""
    low = f"above {least:g}" if above else f"{least:g}"
    high = f"below {most:g}" if below else f"{most:g}"
    wanted = f"{low} to {high}" if most < math.inf else low if above else f"{low} or more"

    def holds(x: Any) -> bool:
        if not isinstance(x, (int, float)) or isinstance(x, bool):
            return False
        if not -sys.float_info.max <= x <= sys.float_info.max:  # NaN and what is no float too
            return False
        return (least < x or (x == least and not above)) and (x < most or (x == most and not below))

    return Kind(f"a number, {wanted}", holds)


def one_of(*names: str) -> Kind:
    shown = ", ".join(name or '""' for name in names)
    return Kind(f"one of {shown}", lambda x: isinstance(x, str) and x in names)


def many(kind: Kind, least: int = 0) -> Kind:
    """A tuple of values of a kind, at least so many, none of them twice."""
    needed = f"a tuple{' of at least one' * (least > 0)}, as (x, y), of different values: "
    needed += f"each {kind.needed}"

    def holds(x: Any) -> bool:
        return (
            isinstance(x, (tuple, list)) and len(x) >= least and all(map(kind.holds, x))
            and len(set(x)) == len(x)
        )  # fmt: skip

    return Kind(needed, holds)


def table(of: Kind, least: int = 1) -> Kind:
    """Pairs of a regular expression and a value; the first that matches wins."""

    def holds(x: Any) -> bool:
        pairs = isinstance(x, (tuple, list)) and len(x) >= least
        return pairs and all(
            isinstance(pair, (tuple, list)) and len(pair) == 2 and expression.holds(pair[0])
            and of.holds(pair[1])
            for pair in x
        )  # fmt: skip

    return Kind(f"pairs (regular expression of paths, {of.needed})", holds)


def either(kind: Kind, nothing: Any) -> Kind:
    """A value of a kind, or the one that means none."""
    shown = '""' if nothing == "" else nothing
    return Kind(f"{kind.needed}, or {shown}", lambda x: x == nothing or kind.holds(x))


def _compiles(x: Any) -> bool:
    try:
        return isinstance(x, str) and bool(re.compile(x))
    except re.error:
        return False


def _is_place(x: Any) -> bool:
    if not isinstance(x, str) or not x.strip() or "://" in x or "\0" in x:
        return False
    return all(len(name.encode(errors="surrogatepass")) <= LONGEST_NAME for name in x.split("/"))


def _is_pair_of_steps(x: Any) -> bool:
    return len(x) == 2 and all(map(whole(1).holds, x)) and x[0] <= x[1]


flag = Kind("True or False", lambda x: isinstance(x, bool))
share = number(0, 1)
expression = Kind("a regular expression", _compiles)
# Orbax, ArrayRecord and TensorBoard each reach for buckets in their own way, or not at all.
place = Kind(
    f"a folder of a file system, no name on the way longer than {LONGEST_NAME} bytes "
    "(of a bucket: mount it with gcsfuse, and give where it is mounted)",
    _is_place,
)
profiled = Kind(
    "the first and the last step, as (10, 13)",
    lambda x: isinstance(x, (tuple, list)) and _is_pair_of_steps(x),
)
