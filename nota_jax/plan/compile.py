"""Compiles a training step or the decoding for a target, and measures the program.

    python -m nota_jax.plan.compile JOB.json OUT.json

In a process of its own: a compiler for hardware that is not there can crash, hang on a lock or run
out of the target's memory, which ends this process, and `worker` makes a sentence of it.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax._src.cudnn import fused_attention_stablehlo  # its version check has no public switch
from jax.experimental import topologies
from jax.sharding import Mesh
from ml_collections import ConfigDict

from nota_jax.errors import UserError, memory_is_full
from nota_jax.files import write_json
from nota_jax.models import decode
from nota_jax.models.flops import forward_flops, traced_flops
from nota_jax.models.notagpt import NotaGPT, param_shapes
from nota_jax.parallel.hardware import Chip
from nota_jax.parallel.mesh import batch_sharding, check_rows, make_mesh
from nota_jax.params import flatten
from nota_jax.plan import traffic
from nota_jax.plan.targets import Target, parse
from nota_jax.training import program
from nota_jax.training.state import TrainState
from nota_jax.units import GIB

CUDNN = (9, 10)  # major and minor version that a GPU's machine is taken to have

# Of a page's prompt beside its image; of a question, padded as `decode.generate` pads it.
PREFIX_TEXT, QUESTION_TOKENS = 4, 2 * decode.TURN_BUCKET
# Steps of the schedule: the program does not depend on how many.
_STEPS = 1000

GPU_OPTIONS = {
    # XLA's own matrix kernels need a card to be tuned on; untuned, some shapes of CLIP's (577
    # tokens) find no tiling at all.  cuBLAS computes them instead.
    "xla_gpu_enable_triton_gemm": False,
}
TPU_OPTIONS = {
    # Full effort reorders for a quarter of an hour: 318 s instead of 19 for phase 2 on v5e-16, and
    # 10 % more memory for the overlap it finds.
    "exec_time_optimization_effort": -1.0,
}


def devices_of(target: Target, virtual: bool) -> Sequence[jax.Device]:
    """The target's devices as its compiler sees them, or as many virtual CPU devices."""
    if virtual or target.chip is None:
        return jax.devices("cpu")[: target.devices]
    if target.platform == "gpu":
        return topologies.get_topology_desc(
            platform="cuda",
            target_config=gpu_properties(target.chip),
            topology=f"{target.shape[0]}x1x{target.shape[1]}",
        ).devices
    more: dict[str, Any] = {}
    if target.devices == 1:
        more["chips_per_host_bounds"] = [1, 1, 1]
    if target.chip.name == "v4":
        more["chip_config_name"] = "megacore"  # its two cores as one device, as Cloud TPU runs it
    name = f"{target.chip.name}:{'x'.join(map(str, target.shape))}"
    return topologies.get_topology_desc(platform="tpu", topology_name=name, **more).devices


def gpu_properties(chip: Chip) -> str:
    """A card in the text form of XLA's `GpuTargetConfigProto`."""
    gpu = chip.gpu
    device = {
        "threads_per_block_limit": 1024, "threads_per_warp": 32, "threads_per_core_limit": 2048,
        "shared_memory_per_block": 48 * 1024, "shared_memory_per_core": gpu.shared,
        "shared_memory_per_block_optin": gpu.shared_block, "core_count": gpu.cores,
        "fpus_per_core": gpu.fp32_units, "block_dim_limit_x": 2**31 - 1,
        "block_dim_limit_y": 65535, "block_dim_limit_z": 65535,
        "thread_dim_limit_x": 1024, "thread_dim_limit_y": 1024, "thread_dim_limit_z": 64,
        "registers_per_core_limit": 65536, "registers_per_block_limit": 65536,
        "memory_bandwidth": int(chip.bandwidth), "l2_cache_size": gpu.l2,
        "clock_rate_ghz": gpu.clock, "device_memory_size": chip.memory,
    }  # fmt: skip
    fields = " ".join(f"{name}: {value}" for name, value in device.items())
    capability = f"cuda_compute_capability {{ major: {gpu.major} }}"
    return (
        f'gpu_device_info {{ {fields} {capability} }} platform_name: "CUDA" '
        f"dnn_version_info {{ major: {CUDNN[0]} minor: {CUDNN[1]} patch: 0 }} "
        f'device_description_str: "{gpu.description}"'
    )


def assume_cudnn() -> None:
    """Lets jax trace cuDNN's attention where cuDNN is not installed, as for the card's.

    XLA compiles it without; how much working memory a kernel asks for only cuDNN could tell.
    """
    fused_attention_stablehlo.check_cudnn_version = lambda: 10_000 * CUDNN[0] + 100 * CUDNN[1]


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """What a job's program needs and does on each device, in plain values that JSON knows.

    job: config (resolved), target, virtual (compile for CPU devices instead), and of a training
      step rows and length, of decoding pages and questions (of each page).
    """
    config, target = ConfigDict(job["config"]), parse(job["target"])
    if target.platform == "gpu":
        assume_cudnn()
    devices = devices_of(target, job["virtual"])
    mesh = make_mesh(**config.mesh, devices=devices)
    vocabulary = config.model.text.vocab_size or config.vocab_size
    # Which token stands for an image changes nothing that is measured here.
    architecture = program.model_config(config, 0, vocabulary, target.platform)
    if job["virtual"]:  # the target's dtypes, but kernels that a CPU has
        architecture = dataclasses.replace(architecture, platform="cpu")
    phase = program.prepare(
        program.train_config(config, _STEPS, {}), NotaGPT(architecture),
        param_shapes(architecture), mesh,
    )  # fmt: skip
    state = phase.abstract_state(target.platform)
    started = time.monotonic()
    if "pages" in job:
        traced, held, counted = _decoding(job, config, phase, state)
    else:
        traced, held, counted = _step(job, config, phase, state)
    counted |= {"flops_done": traced_flops(traced.jaxpr)}
    lowered = traced.lower()
    if "rows" in job:
        counted["largest_logits"] = largest_logits(
            lowered.as_text(), vocabulary, flatten(phase.shapes)
        )
    return {
        "devices": len(devices),
        "mesh": dict(mesh.shape),
        "held": {name: _on_each(tree) for name, tree in held.items()},
        "traced_s": time.monotonic() - started,
        "jax": jax.__version__,
        **counted,
        **_compiled(lowered, _options(target, job["virtual"]), mesh),
    }


def _step(
    job: dict[str, Any], config: ConfigDict, phase: program.Program, state: TrainState
) -> tuple[jax.stages.Traced, dict[str, Any], dict[str, Any]]:
    """A training step, traced; what it is given; its FLOPs."""
    check_rows(phase.mesh, job["rows"] // config.data.accumulation)
    batch = phase.abstract_batch(job["rows"], job["length"])
    held = {
        "trainable": state.trainable, "frozen": state.frozen, "optimizer": state.opt_state,
        "batch": batch,
    }  # fmt: skip
    return phase.step(state).trace(state, batch), held, {"flops": phase.flops(batch)}


def _decoding(
    job: dict[str, Any], config: ConfigDict, phase: program.Program, state: TrainState
) -> tuple[jax.stages.Traced, dict[str, Any], dict[str, Any]]:
    """Answering a batch of evaluation's questions, traced; what it is given; a token's FLOPs."""
    pages, questions, architecture = job["pages"], job["questions"], phase.model.config
    side, rows = architecture.vision.image_size, batch_sharding(phase.mesh)

    def batch(dtype: Any, *shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((pages, *shape), dtype, sharding=rows)

    inputs = (
        batch(np.float32, side, side, 3),
        batch(np.int32, architecture.num_image_tokens + PREFIX_TEXT),
        batch(np.int32, questions, QUESTION_TOKENS),
        batch(np.int32, questions),
    )
    traced = decode.trace(
        phase.model, state.params, *inputs, max_new_tokens=config.eval.max_new_tokens, eos_ids=(2,)
    )
    held = {"trainable": state.trainable, "frozen": state.frozen, "batch": inputs}
    token = pages * questions * forward_flops(architecture, 1).text
    return traced, held, {"token_flops": token}


def _compiled(lowered: jax.stages.Lowered, options: dict[str, Any], mesh: Mesh) -> dict[str, Any]:
    """Memory and traffic of the compiled program, or by how much it is too large to compile."""
    started = time.monotonic()
    try:
        compiled = lowered.compile(compiler_options=options)
    except jax.errors.JaxRuntimeError as error:
        if not memory_is_full(error):
            raise
        return {"out_of_memory": _needed(str(error))}
    memory = compiled.memory_analysis()
    arguments, outputs = memory.argument_size_in_bytes, memory.output_size_in_bytes
    written = outputs - memory.alias_size_in_bytes  # the state is donated: written in place
    found = traffic.read(compiled.as_text(), [d.process_index for d in mesh.devices.flat])
    return {
        "compiled_s": time.monotonic() - started,
        "arguments": arguments,
        "temporaries": memory.temp_size_in_bytes,
        "code": memory.generated_code_size_in_bytes,
        "peak": arguments + memory.temp_size_in_bytes + written,
        "moved": found.moved,
        "token_moved": found.token_moved,
        "collectives": [vars(c) for c in found.collectives],
    }


def largest_logits(text: str, vocabulary: int, shapes: dict[str, Any]) -> list[int]:
    """The largest fp32 array over the vocabulary that a lowered step makes.

    Parameters, and copies of one for each block of rows, are left aside.

    text: StableHLO, in which shapes are those of all devices together, as the model has them.
    Returns its shape; of a chunked loss [blocks, B / blocks, chunk, V], of another [B, T, V].
    """
    own = {leaf.shape for leaf in shapes.values()} | {leaf.shape[::-1] for leaf in shapes.values()}
    found = [tuple(map(int, dims.split("x"))) for dims in re.findall(r"tensor<([\dx]+)xf32>", text)]
    over = {dims for dims in found if vocabulary in dims and len(dims) > 1}
    over = {dims for dims in over if dims not in own and dims[1:] not in own}
    return list(max(over, key=math.prod, default=()))


def _on_each(tree: Any) -> int:
    """Bytes on each device of a tree of shapes with places."""
    leaves = jax.tree.leaves(tree)
    return sum(math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in leaves)


def _options(target: Target, virtual: bool) -> dict[str, Any]:
    if virtual or target.chip is None:
        return {}
    return GPU_OPTIONS if target.platform == "gpu" else TPU_OPTIONS


def _needed(message: str) -> dict[str, Any]:
    """What XLA says it would need, in bytes (None if it does not say), and in its own words."""
    used = re.search(r"(?:Used|required[^(]*\() ?([\d.]+)([GM])", message)
    needed = int(float(used[1]) * {"G": GIB, "M": GIB / 1024}[used[2]]) if used else None
    return {"needed": needed, "message": message.splitlines()[0][:300]}


def _end_with_parent() -> None:
    """Nobody waits for the answer any more, and others wait for libtpu's lock."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(3)

    threading.Thread(target=watch, daemon=True).start()


def main(argv: Sequence[str]) -> int:
    _end_with_parent()
    job, out = json.loads(Path(argv[1]).read_text()), Path(argv[2])
    jax.config.update("jax_enable_compilation_cache", False)  # a cached program has no text
    try:
        answer = {"result": measure(job)}
    except UserError as error:
        answer = {"error": str(error)}
    write_json(out, answer)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
