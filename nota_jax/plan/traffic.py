"""What a compiled program sends to other devices, and what it moves through its own memory."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nota_jax.plan import hlo
from nota_jax.plan.hlo import Instruction, n_bytes

# What one of n devices sends in a ring, as a multiple of what it puts in.
_RING = {
    "all-gather": lambda n: n - 1,
    "all-reduce": lambda n: 2 * (n - 1) / n,
    "reduce-scatter": lambda n: (n - 1) / n,
    "all-to-all": lambda n: (n - 1) / n,
    "ragged-all-to-all": lambda n: (n - 1) / n,
    "collective-permute": lambda n: 1,
    "collective-broadcast": lambda n: 1,
}

# A TPU's layouts are tiled (T); its memory space 1 is the vector memory beside the units.  (On GPU
# space 1 is ordinary memory that NCCL knows.)
_ON_CHIP = re.compile(r"\w+\[[\d,]*\]\{[^}]*T\([^}]*S\(1\)\}")
_FREE = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "call",
    "conditional", "after-all", "partition-id", "replica-id", "optimization-barrier", "domain",
}  # fmt: skip


@dataclass(frozen=True)
class Collective:
    """One kind of collective over groups of one size.

    dtype: of what is sent, "f32" …; crosses: whether a group has devices of several hosts; token:
    whether it belongs to one turn of a loop with an open end (of decoding: one token); count: runs;
    sent: bytes that one device sends for them, if done in a ring.
    """

    kind: str
    dtype: str
    group: int
    crosses: bool
    token: bool
    count: int
    sent: float


@dataclass(frozen=True)
class Traffic:
    """collectives: most bytes first.  moved: bytes that one device reads from and writes to its
    memory, each operation counted by itself; token_moved: in one turn of the loop with an open
    end, which `moved` leaves out."""

    collectives: tuple[Collective, ...]
    moved: float
    token_moved: float


def read(text: str, hosts: Sequence[int] | None = None) -> Traffic:
    """What a program does on one device.

    text: `compiled.as_text()`.
    hosts: the host of each device, in the mesh's order; None for one host.
    """
    program, entry = hlo.parse(text)
    found: dict[tuple[str, str, int, bool, bool], list[float]] = {}
    moved = {False: 0.0, True: 0.0}
    for part in hlo.parts(program, entry):
        shapes = {i.name: i.shape for i in part.computation}
        for i in part.computation:
            kind = i.opcode.removesuffix("-start")
            if kind in _RING:
                size, crosses = _group(i, hosts)
                given = [shapes[o] for o in i.operands]
                sent = sum(map(n_bytes, given)) * _RING[kind](size) if size > 1 else 0.0
                if sent:
                    key = (kind, hlo.dtype_of(given[0]), size, crosses, part.in_open_loop)
                    sums = found.setdefault(key, [0, 0.0])
                    sums[0] += part.times
                    sums[1] += part.times * sent
            if not part.fused:
                moved[part.in_open_loop] += part.times * _moved(i, shapes, program)
    collectives = [Collective(*key, int(n), sent) for key, (n, sent) in found.items()]
    collectives.sort(key=lambda c: -c.sent)
    return Traffic(tuple(collectives), moved[False], moved[True])


def groups(attributes: str) -> list[list[int]] | None:
    """The devices that talk to each other, by their number in the mesh; None for all of them.

    XLA writes them out, as a reshaped and transposed count ([2,4]<=[4,2]T(1,0)), or as axes of a
    mesh (mesh['a'=4,'b'=2] {'b'}).
    """
    if pairs := re.search(r"source_target_pairs=\{(\{.*?\})\}", attributes):
        return [_numbers(pair) for pair in re.findall(r"\{([\d,]+)\}", pairs[1])]
    if listed := re.search(r"replica_groups=\{(\{[\d,{} ]*\})\}", attributes):
        return [_numbers(group) for group in re.findall(r"\{([\d,]+)\}", listed[1])]
    if counted := re.search(r"replica_groups=\[([\d,]+)\]<=(\S*)", attributes):
        return _counted(counted[2]).reshape(_numbers(counted[1])).tolist()
    if mesh := re.search(r"replica_groups=mesh\[([^\]]*)\](.*?)\{([^}]*)\}", attributes):
        axes = {name: int(n) for name, n in re.findall(r"'([^']+)'=(\d+)", mesh[1])}
        order = re.search(r"device_ids=\((\[.*?)\)\s*$", mesh[2].strip())
        devices = _counted(order[1]) if order else np.arange(np.prod(list(axes.values())))
        return _along(devices, axes, mesh[3])
    return None


def _counted(text: str) -> np.ndarray:
    """`[4,2]T(1,0)`: 0 … 7 as a 4 × 2 array, transposed, flattened."""
    shape, order = re.match(r"\[([\d,]+)\](?:T\(([\d,]+)\))?", text).groups()
    devices = np.arange(np.prod(_numbers(shape))).reshape(_numbers(shape))
    return devices.transpose(_numbers(order) if order else None).ravel()


def _along(devices: np.ndarray, axes: Mapping[str, int], used: str) -> list[list[int]]:
    """Groups of devices that differ in the used axes only.

    used: `'a','b'`, or `'a':(2)4`, the part of size 4 of an axis whose major part has size 2.
    """
    sizes: list[int] = []
    inside: list[int] = []  # dimensions within a group
    for name, size in axes.items():
        named = re.search(rf"'{re.escape(name)}'(?::\((\d+)\)(\d+))?", used)
        major, part = (int(named[1]), int(named[2])) if named and named[1] else (1, size)
        if named:
            inside.append(len(sizes) + 1)
        sizes += [major, part, size // major // part]
    grid = devices.reshape(sizes)
    grid = np.moveaxis(grid, inside, range(-len(inside), 0))
    return grid.reshape(-1, np.prod([sizes[d] for d in inside], dtype=int)).tolist()


def _numbers(text: str) -> list[int]:
    return [int(n) for n in text.split(",")]


def _group(i: Instruction, hosts: Sequence[int] | None) -> tuple[int, bool]:
    """Devices of a group of a collective, and whether any group has several hosts."""
    hosts = hosts or ()
    found = groups(i.attributes)
    if found is None:
        return max(len(hosts), 1), len(set(hosts)) > 1
    if "source_target_pairs" in i.attributes:
        found = [pair for pair in found if pair[0] != pair[1]]
    crosses = bool(hosts) and any(len({hosts[d] for d in group}) > 1 for group in found)
    return max(map(len, found), default=1), crosses


def _in_memory(shape: str) -> float:
    """Bytes of the arrays of a shape that are not kept on the chip."""
    return n_bytes(_ON_CHIP.sub("", shape))


def _moved(i: Instruction, shapes: Mapping[str, str], program: hlo.Program) -> float:
    """Bytes that an operation reads and writes; a slice counts as what is taken out of it."""
    if i.opcode in _FREE or i.opcode.endswith("-done"):
        return 0.0
    if i.opcode in ("dynamic-slice", "slice", "gather"):
        return 2 * _in_memory(i.shape)
    if i.opcode == "dynamic-update-slice":
        return 2 * _in_memory(shapes.get(i.operands[1], ""))
    operands = [_in_memory(shapes.get(o, "")) for o in i.operands]
    if i.opcode in _RING or i.opcode.endswith("-start"):
        return 2 * sum(operands)
    if i.opcode == "fusion":
        # Inside a fusion shapes do not say where they lie; its own shape does.
        read, written = _moved_by_fusion(program[i.called("calls")], operands)
        return read + min(written, _in_memory(i.shape))
    return sum(operands) + _in_memory(i.shape)


def _moved_by_fusion(body: Sequence[Instruction], operands: list[float]) -> tuple[float, float]:
    """Bytes read and written; operands: the bytes of each."""
    there = {i.name: i for i in body}

    def read_of(name: str, whole: float) -> float:
        total = 0.0
        for user in body:
            if name not in user.operands:
                continue
            if user.opcode in ("dynamic-slice", "gather", "slice") and user.operands[0] == name:
                total += n_bytes(user.shape)
            elif user.opcode == "bitcast":
                total += read_of(user.name, whole)
            elif user.opcode != "dynamic-update-slice" or user.operands[0] != name:
                return whole  # else it is written in place
        return min(total, whole)

    def written_by(result: Instruction) -> float:
        made = hlo.through_copies(there, result.name) or result
        updates = made.opcode == "dynamic-update-slice"
        return n_bytes(there[made.operands[1]].shape if updates else made.shape)

    parameters = [i for i in body if i.opcode == "parameter" and int(i.inside) < len(operands)]
    root = next(i for i in body if i.root)
    results = [there[o] for o in root.operands] if root.opcode == "tuple" else [root]
    return (
        sum(read_of(i.name, operands[int(i.inside)]) for i in parameters),
        sum(map(written_by, results)),
    )
