"""What is read of safetensors files, byte by byte, where our code asks the library for it."""

import contextlib
from collections.abc import Iterator
from typing import Any

from conversion import tensors


@contextlib.contextmanager
def counted() -> Iterator[list[tuple[str, int]]]:
    """(tensor's name, bytes) of every slice that is read within the block."""
    read: list[tuple[str, int]] = []
    opened = tensors.safe_open

    class Slice:
        def __init__(self, name: str, inner: Any):
            self.name, self.inner = name, inner

        def __getattr__(self, attribute: str) -> Any:
            return getattr(self.inner, attribute)

        def __getitem__(self, index: Any) -> Any:
            values = self.inner[index]
            read.append((self.name, values.nbytes))
            return values

    class File:
        def __init__(self, *arguments: Any):
            self.inner = opened(*arguments)

        def __enter__(self) -> "File":
            self.inner.__enter__()
            return self

        def __exit__(self, *error: Any) -> None:
            self.inner.__exit__(*error)

        def keys(self) -> list[str]:
            return self.inner.keys()

        def get_slice(self, name: str) -> Slice:
            return Slice(name, self.inner.get_slice(name))

    tensors.safe_open = File
    try:
        yield read
    finally:
        tensors.safe_open = opened
