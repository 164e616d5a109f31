"""Attention kernels beside the reference: do they agree, and how fast are they?

    python -m nota_jax.bench.kernels [--out DIR] [--shape 4,1024,32,8,128]

Rows of turns over a shared prefix, forward and with gradients, in bfloat16.  Differences are to the
reference in float32, relative to its largest number.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nota_jax import tables
from nota_jax.bench.speed import machine
from nota_jax.environment import quiet
from nota_jax.errors import UserError, exit_status
from nota_jax.files import write_json
from nota_jax.models import attention_kernels
from nota_jax.models.attention import attention

ROUNDS = 10
COLUMNS = ("attention", "forward", "and gradients", "× reference", "error", "of gradients")


def measure(shape: tuple[int, ...], rounds: int = ROUNDS) -> dict[str, dict[str, Any]]:
    """By implementation: seconds forward and with gradients, and largest differences.

    shape: (B, T, H, K, D), K heads for keys and values.
    """
    if len(shape) != 5 or min(shape) < 1 or shape[2] % shape[3]:
        raise UserError(f"--shape is {shape}: B,T,H,K,D are needed, H a multiple of K")
    b, t, h, k, d = shape
    keys = jax.random.split(jax.random.key(0), 4)
    sizes = ((b, t, h, d), (b, t, k, d), (b, t, k, d), (b, t, h, d))
    q, kk, v, dy = (jax.random.normal(key, s) for key, s in zip(keys, sizes, strict=True))
    prefix, n_turns = t // 2, 4
    turn = 1 + (np.arange(t - prefix) * n_turns) // (t - prefix)
    ids = np.concatenate([np.zeros(prefix, int), turn])
    ids, places = (jnp.tile(x, (b, 1)) for x in (ids, np.arange(t)))

    def both(impl: str):
        def forward(q, k, v):
            return attention(q, k, v, turn_ids=ids, positions=places, impl=impl)

        def gradients(q, k, v):
            return jax.grad(lambda *x: jnp.vdot(forward(*x), dy).real, argnums=(0, 1, 2))(q, k, v)

        return jax.jit(forward), jax.jit(gradients)

    exact = [f(q, kk, v) for f in both("reference")]
    low = [x.astype(jnp.bfloat16) for x in (q, kk, v)]
    kernel = attention_kernels.best(low[0], low[1], by_turns=True, platform=jax.default_backend())
    found: dict[str, dict[str, Any]] = {}
    for impl in dict.fromkeys(("reference", "blocked", kernel or "blocked")):
        times, errors = [], []
        for run, want in zip(both(impl), exact, strict=True):
            got = jax.block_until_ready(run(*low))  # compiles
            errors.append(_apart(got, want))
            times.append([_timed(run, low) for _ in range(rounds)])
        medians = np.median(times, axis=1).tolist()
        found[impl] = {"forward": medians[0], "gradients": medians[1], "errors": errors}
    return found


def _timed(run: Any, arguments: list[jax.Array]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(run(*arguments))
    return time.perf_counter() - start


def _apart(got: Any, want: Any) -> float:
    pairs = zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True)
    return max(float(jnp.abs(a.astype(b.dtype) - b).max() / jnp.abs(b).max()) for a, b in pairs)


def table(found: dict[str, dict[str, Any]]) -> str:
    base = found["reference"]["gradients"]
    rows = [
        (name, f"{1e3 * x['forward']:.2f} ms", f"{1e3 * x['gradients']:.2f} ms",
         f"{x['gradients'] / base:.2f}", *(f"{error:.1e}" for error in x["errors"]))
        for name, x in found.items()
    ]  # fmt: skip
    return tables.text(COLUMNS, rows)


def run(shape: tuple[int, ...], out: Path | None) -> None:
    found = measure(shape)
    print(f"B, T, H, K, D = {', '.join(map(str, shape))}\n{table(found)}")
    if out:
        write_json(out / "kernels.json", {"machine": machine(), "shape": shape, "found": found})


def main() -> int:
    quiet()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--out", type=Path, help="folder for kernels.json")
    parser.add_argument("--shape", default="4,1024,32,8,128", help="B,T,H,K,D")
    given = parser.parse_args()

    def parsed() -> None:
        try:
            shape = tuple(int(part) for part in given.shape.split(","))
        except ValueError:
            raise UserError(f"--shape is {given.shape!r}: five whole numbers are needed") from None
        run(shape, given.out)

    return exit_status(parsed)


if __name__ == "__main__":
    sys.exit(main())
