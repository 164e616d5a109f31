"""Starts several processes of one run, and waits for them; for the tests beside it."""

import os
import re
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nota_jax
from tests import compiling

ROOT = Path(nota_jax.__file__).parents[1]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("", 0))
        return found.getsockname()[1]


def launch(count, devices, command, **variables):
    """`count` processes with so many virtual devices each, started together.

    command: behind the interpreter; {index} in it becomes the process's number.
    """
    port, processes = free_port(), []
    for index in range(count):
        env = {
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": str(ROOT),
            "XLA_FLAGS": f"{compiling.FLAGS} --xla_force_host_platform_device_count={devices}",
            "NOTA_START_SECONDS": "300",
        }
        if count > 1:
            env |= {"JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}"}
            env |= {"JAX_NUM_PROCESSES": str(count), "JAX_PROCESS_ID": str(index)}
        processes.append(
            subprocess.Popen(
                [sys.executable, *(str(x).replace("{index}", str(index)) for x in command)],
                env=env | variables,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return processes


def finish(processes, timeout=600):
    """[(status, stdout, stderr)] of processes that end by themselves; those that do not, fail."""
    try:
        with ThreadPoolExecutor() as pool:
            out = list(pool.map(lambda p: p.communicate(timeout=timeout), processes))
    finally:
        for process in processes:
            process.kill()
    return [(p.returncode, *texts) for p, texts in zip(processes, out, strict=True)]


def without_gloo(text):
    """What a process said besides that it waits for the others, and besides gloo's own lines.

    Those come in pieces that its threads mix up.
    """
    text = re.sub(r"waiting up to \d+ s for the other processes of this run \(.*?\)", "", text)
    line = r"\[Gloo\] Rank |is connected to|peer ranks\. |Expected number of|connected peer ranks"
    return re.sub(rf"{line}|is : |\d+|\s", "", text)
