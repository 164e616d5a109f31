"""Reads a compiled program: which collectives it runs, and what it moves through memory.

XLA's own cost analysis counts the body of a loop once, and a model's layers are one loop.  Here a
body counts as often as the loop runs.  What is read is the text of the optimised HLO of one device
(`compiled.as_text()`).
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

KINDS = (
    "all-gather", "all-reduce", "reduce-scatter", "all-to-all", "ragged-all-to-all",
    "collective-permute", "collective-broadcast",
)  # fmt: skip

_BITS = {"pred": 8, "bf16": 16, "c64": 64, "c128": 128, "token": 0}
_SHAPE = re.compile(r"\b(pred|bf16|token|[suf]\d+|f8\w+|c64|c128)\[([\d,]*)\]")
# A TPU's layouts are tiled (T); its memory space 1 is the vector memory beside the units.  (On GPU
# space 1 is ordinary memory that NCCL knows.)
_ON_CHIP = re.compile(r"\w+\[[\d,]*\]\{[^}]*T\([^}]*S\(1\)\}")
_FREE = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "call",
    "conditional", "after-all", "partition-id", "replica-id", "optimization-barrier", "domain",
}  # fmt: skip


@dataclass(frozen=True)
class Instruction:
    """`name = shape opcode(operands), attributes`."""

    name: str
    shape: str
    opcode: str
    operands: tuple[str, ...]
    inside: str
    attributes: str
    root: bool


@dataclass(frozen=True)
class Collective:
    """One kind of collective over groups of one size.

    count: runs in a step; sent: bytes that one device sends for them, if done in a ring; crosses:
    whether a group has devices of several hosts.
    """

    kind: str
    group: int
    crosses: bool
    count: int
    sent: float


@dataclass(frozen=True)
class Reading:
    """collectives: most bytes first.  moved: bytes that one device reads from and writes to its
    memory in a step, each operation counted by itself.  unknown_loops: loops whose number of runs
    could not be read and that count once."""

    collectives: tuple[Collective, ...]
    moved: float
    unknown_loops: int


Computations = Mapping[str, Sequence[Instruction]]


def read(text: str, hosts: Sequence[int] | None = None) -> Reading:
    """What a program does on one device.

    text: `compiled.as_text()`.
    hosts: the host of each device, in the mesh's order; None for one host.
    """
    program, entry = parse(text)
    found: dict[tuple[str, int, bool], list[float]] = {}
    moved, unknown = 0.0, 0
    for computation, times, fused in _runs(program, entry):
        if times is None:
            unknown += 1
            continue
        shapes = {i.name: i.shape for i in program[computation]}
        for i in program[computation]:
            kind = i.opcode.removesuffix("-start")
            if kind in KINDS and not i.opcode.endswith("-done"):
                groups = _groups(i.attributes, len(hosts or ()))
                size, crosses = _group_size(groups, i, hosts)
                sent = _sent(kind, sum(n_bytes(shapes[o]) for o in i.operands), size)
                if sent:
                    entry_ = found.setdefault((kind, size, crosses), [0, 0.0])
                    entry_[0] += times
                    entry_[1] += times * sent
            if not fused:
                moved += times * _traffic(i, shapes, program)
    collectives = [Collective(*key, int(n), sent) for key, (n, sent) in found.items()]
    return Reading(tuple(sorted(collectives, key=lambda c: -c.sent)), moved, unknown)


def n_bytes(shape: str) -> float:
    """Bytes of all arrays in an HLO shape, without the padding of a layout."""
    return sum(
        math.prod(int(d) for d in dims.split(",") if d) * _bits(dtype) / 8
        for dtype, dims in _SHAPE.findall(shape)
    )


def _bits(dtype: str) -> int:
    if dtype in _BITS:
        return _BITS[dtype]
    return 8 if dtype.startswith("f8") else int(dtype[1:])


def parse(text: str) -> tuple[dict[str, list[Instruction]], str]:
    """The computations of an HLO module by name, and the entry's name."""
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
    cut = _closing(right) + 1 if right.startswith("(") else right.index(" ")
    shape, rest = right[:cut], right[cut:].lstrip()
    opcode, rest = rest.split("(", 1)
    end = _closing("(" + rest)
    inside, attributes = rest[: end - 1], rest[end:]
    return Instruction(
        left.replace("ROOT", "").strip().lstrip("%"), shape, opcode,
        tuple(re.findall(r"%([\w.\-]+)", inside)), inside, attributes, "ROOT " in left,
    )  # fmt: skip


def _closing(text: str) -> int:
    """Where the parenthesis that opens `text` closes."""
    depth = 0
    for i, c in enumerate(text):
        depth += (c == "(") - (c == ")")
        if not depth:
            return i
    raise ValueError(f"unbalanced HLO: {text[:80]}")


def _runs(program: Computations, entry: str) -> Iterator[tuple[str, int | None, bool]]:
    """(computation, times that it runs, whether it is part of a fusion), once for each caller.

    A loop of unknown length gives a further (its body, None, …) beside its one run.
    """
    waiting = [(entry, 1, False)]
    while waiting:
        name, times, fused = waiting.pop()
        yield name, times, fused
        for i in program[name]:
            called = dict(re.findall(r"(condition|body|calls|to_apply)=%?([\w.\-]+)", i.attributes))
            if i.opcode == "while":
                trips = trip_count(program, name, i)
                if trips is None:
                    yield called["body"], None, fused
                waiting += [(called[k], times * (trips or 1), fused) for k in ("condition", "body")]
            elif i.opcode == "fusion":
                waiting.append((called["calls"], times, True))
            elif i.opcode in ("call", "async-start"):
                waiting.append((called.get("to_apply") or called["calls"], times, fused))
            elif i.opcode == "conditional":
                # Counted as if every branch ran: an upper bound.
                branches = re.search(r"branch_computations=\{([^}]*)\}", i.attributes)
                names = re.findall(r"%?([\w.\-]+)", branches[1]) if branches else []
                names += re.findall(r"(?:true|false)_computation=%?([\w.\-]+)", i.attributes)
                waiting += [(branch, times, fused) for branch in names]


def trip_count(program: Computations, caller: str, loop: Instruction) -> int | None:
    """How often a loop's body runs: what XLA wrote, else read from its counter; None if neither.

    A counter is compared with a constant by the condition, starts at a constant (0 where that is
    out of sight) and grows by a constant.
    """
    if known := re.search(r'known_trip_count[^}]*?"n":"(\d+)"', loop.attributes):
        return int(known[1])
    called = dict(re.findall(r"(condition|body)=%?([\w.\-]+)", loop.attributes))
    condition = {i.name: i for i in program[called["condition"]]}
    compare = _bare(program, next((i for i in condition.values() if i.root), None))
    if compare is None or compare.opcode != "compare" or "direction=LT" not in compare.attributes:
        return None
    counter, limit = (condition[o] for o in compare.operands)
    end, index = _constant(limit), re.search(r"index=(\d+)", counter.attributes)
    if counter.opcode != "get-tuple-element" or end is None or index is None:
        return None
    index = int(index[1])

    def element(computation: str, of: str) -> tuple[dict[str, Instruction], Instruction | None]:
        there = {i.name: i for i in program[computation]}
        made = there.get(of)
        if made is None or made.opcode != "tuple":
            return there, None
        made = _through_copies(there, there.get(made.operands[index]))
        return there, _bare(program, made)

    root = next(i.name for i in program[called["body"]] if i.root)
    there, grown = element(called["body"], root)
    steps = [_constant(there.get(o)) for o in grown.operands] if grown else []
    step = next((s for s in steps if s), None) if grown and grown.opcode == "add" else None
    start = _constant(element(caller, loop.operands[0])[1]) or 0
    return None if not step else max(0, -(-(end - start) // step))


def _bare(program: Computations, i: Instruction | None) -> Instruction | None:
    """A fusion of a single operation on its parameters as that operation; others as they are."""
    if i is None or i.opcode != "fusion":
        return i
    body = program[re.search(r"calls=%?([\w.\-]+)", i.attributes)[1]]
    numbers = {b.name: int(b.inside) for b in body if b.opcode == "parameter"}
    (root,) = (b for b in body if b.root)
    if len(body) != len(numbers) + 1 or not set(root.operands) <= set(numbers):
        return i
    operands = tuple(i.operands[numbers[o]] for o in root.operands)
    return dataclasses.replace(root, operands=operands)


def _through_copies(there: Mapping[str, Instruction], i: Instruction | None) -> Instruction | None:
    while i is not None and i.opcode in ("copy", "bitcast", "convert") and i.operands:
        i = there.get(i.operands[0])
    return i


def _constant(i: Instruction | None) -> int | None:
    if i is None or i.opcode != "constant":
        return None
    return int(i.inside) if re.fullmatch(r"-?\d+", i.inside) else None


def _sent(kind: str, operand: float, n: int) -> float:
    """Bytes that one of n devices sends in a ring; operand: bytes that it puts in."""
    if n <= 1:
        return 0.0
    share = {"all-gather": n - 1, "all-reduce": 2 * (n - 1) / n, "reduce-scatter": (n - 1) / n}
    share |= {"all-to-all": (n - 1) / n, "ragged-all-to-all": (n - 1) / n}
    return operand * share.get(kind, 1.0)


def _groups(attributes: str, devices: int) -> list[list[int]] | None:
    """The devices that talk to each other, by their number in the mesh; None for all of them.

    XLA writes them out, as a reshaped and transposed count ([2,4]<=[4,2]T(1,0)), or as axes of a
    mesh (mesh['a'=4,'b'=2] {'b'}).
    """
    if pairs := re.search(r"source_target_pairs=\{(\{.*?\})\}", attributes):
        return [[int(n) for n in p.split(",")] for p in re.findall(r"\{([\d,]+)\}", pairs[1])]
    if listed := re.search(r"replica_groups=\{(\{[\d,{} ]*\})\}", attributes):
        return [[int(n) for n in g.split(",")] for g in re.findall(r"\{([\d,]+)\}", listed[1])]
    if iota := re.search(r"replica_groups=\[([\d,]+)\](<=\S*)", attributes):
        order = _iota(iota[2].removeprefix("<="))
        return _rows(order, math.prod(_numbers(iota[1])) // _numbers(iota[1])[0])
    if mesh := re.search(r"replica_groups=mesh\[([^\]]*)\](.*?)\{([^}]*)\}", attributes):
        axes = {name: int(n) for name, n in re.findall(r"'([^']+)'=(\d+)", mesh[1])}
        given = re.search(r"device_ids=\((\[.*?)\)\s*$", mesh[2].strip())
        total = math.prod(axes.values())
        order = _iota(given[1]) if given else list(range(total))
        return _along(order, axes, mesh[3])
    return None


def _along(order: list[int], axes: Mapping[str, int], used: str) -> list[list[int]]:
    """Groups of devices that differ in the used axes only.

    used: `'a','b'`, or `'a':(2)4`, the part of size 4 of an axis whose major part has size 2.
    """
    parts: list[tuple[int, bool]] = []
    for name, size in axes.items():
        cut = re.search(rf"'{re.escape(name)}'(?::\((\d+)\)(\d+))?", used)
        if cut is None or cut[1] is None:
            parts.append((size, cut is not None))
        else:
            before, part = int(cut[1]), int(cut[2])
            parts += [(before, False), (part, True), (size // before // part, False)]
    groups: dict[tuple[int, ...], list[int]] = {}
    for i, device in enumerate(order):
        place, rest = [], i
        for size, _ in reversed(parts):
            rest, digit = divmod(rest, size)
            place.append(digit)
        key = tuple(d for d, (_, used_) in zip(reversed(place), parts, strict=True) if not used_)
        groups.setdefault(key, []).append(device)
    return list(groups.values())


def _iota(text: str) -> list[int]:
    """`[4,2]T(1,0)`: 0 … 7 as a 4 × 2 array, transposed, flattened."""
    match = re.match(r"\[([\d,]+)\](?:T\(([\d,]+)\))?", text)
    shape = _numbers(match[1])
    turned = _numbers(match[2]) if match[2] else list(range(len(shape)))
    strides = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
    order = [0]
    for axis in turned:
        order = [base + k * strides[axis] for base in order for k in range(shape[axis])]
    return order


def _rows(order: list[int], width: int) -> list[list[int]]:
    return [order[i : i + width] for i in range(0, len(order), width)]


def _numbers(text: str) -> list[int]:
    return [int(n) for n in text.split(",")]


def _group_size(
    groups: list[list[int]] | None, i: Instruction, hosts: Sequence[int] | None
) -> tuple[int, bool]:
    if groups is None:
        return (len(hosts) if hosts else 1), len(set(hosts or ())) > 1
    if "source_target_pairs" in i.attributes:
        groups = [pair for pair in groups if pair[0] != pair[1]]
    size = max(map(len, groups), default=1)
    crosses = bool(hosts) and any(len({hosts[d] for d in group}) > 1 for group in groups)
    return size, crosses


def _in_memory(shape: str) -> float:
    """Bytes of the arrays of a shape that are not kept on the chip."""
    return n_bytes(_ON_CHIP.sub("", shape))


def _traffic(i: Instruction, shapes: Mapping[str, str], program: Computations) -> float:
    """Bytes that an operation reads and writes; a slice counts as what is cut out of it."""
    if i.opcode in _FREE or i.opcode.endswith("-done"):
        return 0.0
    if i.opcode in ("dynamic-slice", "slice", "gather"):
        return 2 * _in_memory(i.shape)
    if i.opcode == "dynamic-update-slice":
        return 2 * _in_memory(shapes.get(i.operands[1], ""))
    operands = [_in_memory(shapes.get(o, "")) for o in i.operands]
    if i.opcode.removesuffix("-start") in KINDS or i.opcode.endswith("-start"):
        return 2 * sum(operands)
    if i.opcode != "fusion":
        return sum(operands) + _in_memory(i.shape)
    called = re.search(r"calls=%?([\w.\-]+)", i.attributes)[1]
    return _fusion_traffic(program[called], operands, _in_memory(i.shape))


def _fusion_traffic(body: Sequence[Instruction], operands: list[float], written: float) -> float:
    there = {i.name: i for i in body}
    users: dict[str, list[Instruction]] = {}
    for i in body:
        for o in i.operands:
            users.setdefault(o, []).append(i)

    def read_of(name: str, whole: float) -> float:
        total = 0.0
        for user in users.get(name, []):
            if user.opcode in ("dynamic-slice", "gather", "slice") and user.operands[0] == name:
                total += n_bytes(user.shape)
            elif user.opcode == "dynamic-update-slice" and user.operands[0] == name:
                pass  # written in place
            elif user.opcode == "bitcast":
                total += read_of(user.name, whole)
            else:
                return whole
        return min(total, whole)

    moved, results_size = 0.0, 0.0
    for i in body:
        if i.opcode == "parameter":
            number = int(i.inside)
            moved += read_of(i.name, operands[number]) if number < len(operands) else 0.0
        if i.root:
            results = [there[o] for o in i.operands] if i.opcode == "tuple" else [i]
            for result in results:
                result = _through_copies(there, result) or result
                if result.opcode == "dynamic-update-slice":
                    results_size += n_bytes(there[result.operands[1]].shape)
                else:
                    results_size += n_bytes(result.shape)
    # Inside a fusion shapes do not say where they lie; its own shape does.
    return moved + min(results_size, written)
