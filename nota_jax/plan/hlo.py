"""The text of a compiled program (optimised HLO of one device), and how often its parts run.

XLA's own cost analysis counts the body of a loop once, and a model's layers are one loop.  Here a
body counts as often as the loop runs.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

_BITS = {"pred": 8, "bf16": 16, "c64": 64, "c128": 128, "token": 0}
_SHAPE = re.compile(r"\b(pred|bf16|token|[suf]\d+|f8\w+|c64|c128)\[([\d,]*)\]")


@dataclass(frozen=True)
class Instruction:
    """`name = shape opcode(inside), attributes`; operands: the names that stand inside."""

    name: str
    shape: str
    opcode: str
    operands: tuple[str, ...]
    inside: str
    attributes: str
    root: bool

    def called(self, attribute: str) -> str | None:
        """The computation that an attribute names, as in `body=%name`."""
        found = re.search(rf"\b{attribute}=%?([\w.\-]+)", self.attributes)
        return found and found[1]


Program = Mapping[str, Sequence[Instruction]]


def parse(text: str) -> tuple[Program, str]:
    """The computations of `compiled.as_text()` by name, and the entry's name."""
    program: dict[str, list[Instruction]] = {}
    entry, current = "", None
    for line in text.splitlines():
        if line.endswith("{") and not line.startswith(" ") and ") -> " in line:
            name = re.match(r"(ENTRY )?%?([\w.\-]+)", line)
            current = program.setdefault(name[2], [])
            entry = name[2] if name[1] else entry
        elif current is not None and line.startswith(" ") and " = " in line:
            current.append(_instruction(re.sub(r"/\*.*?\*/", "", line)))
        elif line == "}":
            current = None
    return program, entry


def _instruction(line: str) -> Instruction:
    left, right = line.split(" = ", 1)
    end_of_shape = _closing(right) + 1 if right.startswith("(") else right.index(" ")
    shape, rest = right[:end_of_shape], right[end_of_shape:].lstrip()
    opcode, rest = rest.split("(", 1)
    end = _closing("(" + rest)
    inside, attributes = rest[: end - 1], rest[end:]
    return Instruction(
        name=left.replace("ROOT", "").strip().lstrip("%"),
        shape=shape,
        opcode=opcode,
        operands=tuple(re.findall(r"%([\w.\-]+)", inside)),
        inside=inside,
        attributes=attributes,
        root="ROOT " in left,
    )


def _closing(text: str) -> int:
    """Where the parenthesis that opens `text` closes."""
    depth = 0
    for i, c in enumerate(text):
        depth += (c == "(") - (c == ")")
        if not depth:
            return i
    raise ValueError(f"unbalanced HLO: {text[:80]}")


def n_bytes(shape: str) -> float:
    """Bytes of all arrays in an HLO shape, without the padding of a layout."""
    return sum(
        math.prod(int(d) for d in dims.split(",") if d) * _bits(dtype) / 8
        for dtype, dims in _SHAPE.findall(shape)
    )


def dtype_of(shape: str) -> str:
    """Of the first array in an HLO shape, as in "bf16"."""
    found = _SHAPE.search(shape)
    return found[1] if found else ""


def _bits(dtype: str) -> int:
    if dtype in _BITS:
        return _BITS[dtype]
    return 8 if dtype.startswith("f8") else int(dtype[1:])


@dataclass(frozen=True)
class Part:
    """A computation, and how often it runs in one run of the program.

    fused: whether it is the inside of one operation; in_open_loop: whether it runs inside a loop
    whose end depends on data, of which one turn is counted.
    """

    computation: Sequence[Instruction]
    times: int
    fused: bool = False
    in_open_loop: bool = False


def parts(program: Program, entry: str) -> Iterator[Part]:
    """Every computation, once for each caller; of a branch, every side."""
    waiting = [(entry, Part((), 1))]
    while waiting:
        name, part = waiting.pop()
        part = dataclasses.replace(part, computation=program[name])
        yield part
        for i in part.computation:
            waiting += [
                (called, dataclasses.replace(part, **changes))
                for called, changes in _calls(program, name, i, part)
            ]


def _calls(
    program: Program, caller: str, i: Instruction, part: Part
) -> list[tuple[str, dict[str, object]]]:
    """What an instruction calls, and in what the callee differs from the caller's `part`."""
    if i.opcode == "while":
        turns = trip_count(program, caller, i)
        inside = {
            "times": part.times * (1 if turns is None else turns),
            "in_open_loop": part.in_open_loop or turns is None,
        }
        return [(i.called("condition"), inside), (i.called("body"), inside)]
    if i.opcode == "fusion":
        return [(i.called("calls"), {"fused": True})]
    if i.opcode in ("call", "async-start"):
        return [(i.called("to_apply") or i.called("calls"), {})]
    if i.opcode == "conditional":
        listed = re.search(r"branch_computations=\{([^}]*)\}", i.attributes)
        branches = re.findall(r"%?([\w.\-]+)", listed[1]) if listed else []
        sides = (i.called("true_computation"), i.called("false_computation"))
        return [(branch, {}) for branch in (*branches, *sides) if branch]
    return []


def trip_count(program: Program, caller: str, loop: Instruction) -> int | None:
    """How often a loop's body runs: what XLA wrote, else read from its counter; None if neither.

    A counter is compared with a constant by the condition, starts at a constant (0 where that is
    out of sight) and grows by a constant.
    """
    if known := re.search(r'known_trip_count[^}]*?"n":"(\d+)"', loop.attributes):
        return int(known[1])
    condition = {i.name: i for i in program[loop.called("condition")]}
    compare = unfused(program, next((i for i in condition.values() if i.root), None))
    if compare is None or compare.opcode != "compare" or "direction=LT" not in compare.attributes:
        return None
    counter, limit = (condition[o] for o in compare.operands)
    end, index = _constant(limit), re.search(r"index=(\d+)", counter.attributes)
    if counter.opcode != "get-tuple-element" or end is None or index is None:
        return None

    def element(computation: str, name: str) -> tuple[dict[str, Instruction], Instruction | None]:
        there = {i.name: i for i in program[computation]}
        made = there.get(name)
        if made is None or made.opcode != "tuple":
            return there, None
        return there, unfused(program, through_copies(there, made.operands[int(index[1])]))

    root = next(i.name for i in program[loop.called("body")] if i.root)
    there, grown = element(loop.called("body"), root)
    steps = [_constant(there.get(o)) for o in grown.operands] if grown else []
    step = next((s for s in steps if s), None) if grown and grown.opcode == "add" else None
    start = _constant(element(caller, loop.operands[0])[1]) or 0
    return None if not step else max(0, -(-(end - start) // step))


def unfused(program: Program, i: Instruction | None) -> Instruction | None:
    """A fusion of a single operation on its parameters as that operation; others as they are."""
    if i is None or i.opcode != "fusion":
        return i
    body = program[i.called("calls")]
    numbers = {b.name: int(b.inside) for b in body if b.opcode == "parameter"}
    (root,) = (b for b in body if b.root)
    if len(body) != len(numbers) + 1 or not set(root.operands) <= set(numbers):
        return i
    operands = tuple(i.operands[numbers[o]] for o in root.operands)
    return dataclasses.replace(root, operands=operands)


def through_copies(there: Mapping[str, Instruction], name: str) -> Instruction | None:
    """The instruction of that name, or what it is a copy of."""
    i = there.get(name)
    while i is not None and i.opcode in ("copy", "bitcast", "convert") and i.operands:
        i = there.get(i.operands[0])
    return i


def _constant(i: Instruction | None) -> int | None:
    if i is None or i.opcode != "constant":
        return None
    return int(i.inside) if re.fullmatch(r"-?\d+", i.inside) else None
