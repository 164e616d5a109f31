"""`--target`: which accelerators, how many, and how they hang together."""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass

from nota_jax.errors import UserError
from nota_jax.parallel.hardware import CHIPS, Chip

# Cloud TPU's usual shapes by number of chips; v5e and v6e are flat, v4 and v5p are cubes.
_FLAT = {1: "1x1", 4: "2x2", 8: "2x4", 16: "4x4", 32: "4x8", 64: "8x8", 128: "8x16", 256: "16x16"}
_CUBES = {1: "1x1x1", 4: "2x2x1", 8: "2x2x2", 16: "2x2x4", 32: "2x4x4", 64: "4x4x4"}
_CUBES |= {128: "4x4x8", 256: "4x8x8", 512: "8x8x8", 1024: "8x8x16"}
_FORMS = "a100-80gb:8, h100-80gb:2x8 (hosts × GPUs), v5e:16 or v5e:4x4, v5p:2x2x2, cpu:8"


@dataclass(frozen=True)
class Target:
    """chip: None for virtual CPU devices; shape: hosts × GPUs, or a TPU slice's; hosts: how many
    processes a run there would have."""

    chip: Chip | None
    shape: tuple[int, ...]
    hosts: int = 1

    @property
    def devices(self) -> int:
        return math.prod(self.shape)

    @property
    def platform(self) -> str:
        return self.chip.platform if self.chip else "cpu"

    def __str__(self) -> str:
        name = self.chip.name if self.chip else "cpu"
        shape = self.shape[1:] if self.platform == "gpu" and self.hosts == 1 else self.shape
        return f"{name}:{'x'.join(map(str, shape))}"


def parse(text: str) -> Target:
    """`a100-80gb:8`, `h100-80gb:2x8`, `v5e:16`, `tpu-v5e:4x4`, `v5p:2x2x2`, `cpu:8`.

    Raises:
      UserError: an unknown chip, with the nearest known one, or a number of them that does not
        exist.
    """
    name, _, size = text.strip().lower().removeprefix("tpu-").partition(":")
    chips = {chip.name: chip for chip in CHIPS}
    if name != "cpu" and name not in chips:
        near = difflib.get_close_matches(name, chips, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else ""
        raise UserError(
            f"--target={text}: no accelerator {name!r} is known; {hint or 'there is'} "
            f"{'Known: ' if hint else ''}{', '.join([*chips, 'cpu'])}. Examples: {_FORMS}"
        )
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", size):
        raise UserError(f"--target={text}: how many? Examples: {_FORMS}")
    numbers = tuple(map(int, size.split("x")))
    if name == "cpu":
        if len(numbers) > 1:
            raise UserError(f"--target={text}: virtual CPU devices are one number, as in cpu:8")
        return Target(None, numbers)
    make = _gpus if chips[name].gpu else _slice
    return make(chips[name], numbers, text)


def _gpus(chip: Chip, numbers: tuple[int, ...], text: str) -> Target:
    if len(numbers) == 1 and numbers[0] > chip.per_host:
        hosts, rest = divmod(numbers[0], chip.per_host)
        if rest:
            raise UserError(
                f"--target={text}: more than {chip.per_host} GPUs are several hosts; write "
                f"hosts × GPUs, as in {chip.name}:{hosts + 1}x{chip.per_host}"
            )
        numbers = (hosts, chip.per_host)
    if len(numbers) > 2:
        raise UserError(f"--target={text}: GPUs are a number or hosts × GPUs, as in 2x8")
    shape = numbers if len(numbers) == 2 else (1, *numbers)
    return Target(chip, shape, hosts=shape[0])


def _slice(chip: Chip, numbers: tuple[int, ...], text: str) -> Target:
    flat = chip.name in ("v5e", "v6e")
    known, dimensions = (_FLAT, 2) if flat else (_CUBES, 3)
    if len(numbers) == 1:
        if numbers[0] not in known:
            raise UserError(
                f"--target={text}: {chip.name} slices have {', '.join(map(str, known))} chips "
                "(chips, not cores), or write their shape, as in "
                f"{chip.name}:{known[16]}"
            )
        numbers = tuple(map(int, known[numbers[0]].split("x")))
    if len(numbers) != dimensions:
        raise UserError(
            f"--target={text}: a {chip.name} slice has {dimensions} dimensions, as in "
            f"{chip.name}:{known[16]}"
        )
    return Target(chip, numbers, hosts=max(1, math.prod(numbers) // chip.per_host))
