"""A socket between process 0 and each other process of a run, beside jax's own channels.

jax notices a dead process by its missing heartbeats, a minute or two later, and then aborts the
others from C++ with a stack trace; an error that Python raises in one process leaves the others
waiting in a collective.  The kernel closes a dead process's sockets at once, so here everybody
knows within milliseconds, and whoever fails can say why before it ends.

    roll call    every process says who it is; process 0 waits for all of them
    share        a JSON value from process 0 to all
    barrier      nobody goes on before everybody has come
    fail         a sentence and an exit status, for everybody

Messages are JSON, one a line.  Process 0 is the hub: it decides which failure was first, and that
is the one that all processes end with.
"""

from __future__ import annotations

import json
import os
import queue
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from nota_jax.errors import UserError

DIED = 3  # exit status where another process died: nothing is wrong with the run, start it again


@dataclass
class Peer:
    """The other end of a connection. left: it has said goodbye, so a closed socket is no death."""

    socket: socket.socket
    index: int
    host: str
    left: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, **message: Any) -> bool:
        """False where nobody listens any more."""
        try:
            with self.lock:
                self.socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            return False
        return True


class Lifeline:
    """This process's connections: process 0 has one to each other process, they have one to it."""

    def __init__(self, index: int, peers: list[Peer]):
        self.index, self.peers = index, peers
        self.values: queue.Queue[Any] = queue.Queue()  # what process 0 shared
        self.arrivals: queue.Queue[int] = queue.Queue()  # who has come to the barrier
        self.ending = threading.Lock()  # held by the one thread that ends this process
        for peer in peers:
            threading.Thread(target=self._listen, args=(peer,), daemon=True).start()

    def share(self, make: Callable[[], Any]) -> Any:
        """What `make` gives in process 0 (JSON), in every process; the others do not call it."""
        if self.index:
            return self.values.get()
        value = make()
        for peer in self.peers:
            peer.send(value=value)
        return value

    def barrier(self) -> None:
        """Returns when every process has called it."""
        if self.index:
            self.peers[0].send(arrived=self.index)
        else:
            for _ in self.peers:
                self.arrivals.get()
        self.share(lambda: None)

    def close(self) -> None:
        """Says goodbye; from here on the others may end as they like."""
        self.barrier()
        for peer in self.peers:
            peer.left = True  # all have passed the barrier, and all close now
            peer.send(bye=True)

    def fail(self, status: int, text: str) -> None:
        """Ends this process, and all others, with a sentence.  Does not return."""
        if self.index:
            self.peers[0].send(status=status, text=text)
            time.sleep(5)  # process 0 answers at once; it may have another, earlier failure
            self._end(status, text)
        self._end_all(status, text)

    def _listen(self, peer: Peer) -> None:
        try:
            for line in peer.socket.makefile("r"):
                self._receive(peer, json.loads(line))
        except (OSError, ValueError):
            pass  # torn off in the middle of a message: as good as closed
        died, peer.left = not peer.left, True
        if died:
            text = f"process {peer.index} on {peer.host} died without a word"
            self._end(DIED, text) if self.index else self._end_all(DIED, text)

    def _receive(self, peer: Peer, message: dict[str, Any]) -> None:
        if "value" in message:
            self.values.put(message["value"])
        elif "arrived" in message:
            self.arrivals.put(message["arrived"])
        elif "bye" in message:
            peer.left = True
        elif self.index:
            self._end(message["status"], message["text"])
        else:
            text = f"process {peer.index} on {peer.host}: {message['text']}"
            self._end_all(message["status"], text)

    def _end_all(self, status: int, text: str) -> None:
        for peer in self.peers:
            peer.send(status=status, text=text)
        # jax's own coordinator lives in process 0: were it gone before the others have read their
        # message, they would abort over that instead.
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline and not all(peer.left for peer in self.peers):
            time.sleep(0.02)
        self._end(status, text)

    def _end(self, status: int, text: str) -> None:
        # os._exit, because the ordinary way out waits minutes for processes that are gone.
        with self.ending:
            for peer in self.peers:
                peer.send(bye=True)
            again = "; start the same command again, it continues" if status == DIED else ""
            sys.stdout.flush()
            print(f"error: {text}{again} (process {self.index} ends)", file=sys.stderr, flush=True)
            os._exit(status)


def call_roll(host: str, port: int, count: int, index: int, patience: float, silence: float):
    """Brings all processes together and returns this one's `Lifeline`.

    Args:
      host, port: where process 0 listens; host as the other processes reach it.
      count, index: how many processes there are, which this is.
      patience: seconds in which all must have come.
      silence: seconds after which a machine that no longer answers at all counts as dead.

    Raises:
      UserError: an address where nobody answers, a port that is taken, processes that did not
        come, that came twice, or that count differently.
    """
    deadline = time.monotonic() + patience
    try:
        peers = (
            [_call(host, port, count, index, deadline, patience)]
            if index
            else _gather(port, count, deadline, patience)
        )
    except OSError as error:
        raise UserError(f"process {index}: {host}:{port}: {error.strerror or error}") from error
    for peer in peers:
        peer.socket.settimeout(None)
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (("IDLE", silence / 2), ("INTVL", silence / 8), ("CNT", 4)):
            if hasattr(socket, f"TCP_KEEP{option}"):
                number = getattr(socket, f"TCP_KEEP{option}")
                peer.socket.setsockopt(socket.IPPROTO_TCP, number, max(1, int(value)))
    return Lifeline(index, peers)


def _gather(port: int, count: int, deadline: float, patience: float) -> list[Peer]:
    """Process 0: waits for the others to come, then answers them all."""
    try:
        server = socket.create_server(("", port), backlog=count)
    except OSError as error:
        raise UserError(
            f"process 0 cannot listen on port {port} ({error.strerror}): is another run using it? "
            "Choose another port"
        ) from None
    peers: dict[int, Peer] = {}
    problem = ""
    with server:
        while len(peers) < count - 1 and not problem:
            server.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                connection, (address, *_) = server.accept()
                connection.settimeout(10)
                with connection.makefile("r") as file:
                    hello = json.loads(file.readline())
                peer = Peer(connection, hello["index"], hello["host"])
            except TimeoutError:
                if time.monotonic() < deadline:
                    continue  # a caller that said nothing
                missing = [i for i in range(1, count) if i not in peers]
                problem = (
                    f"{len(peers) + 1} of {count} processes came within {patience:.0f} s; missing: "
                    f"{', '.join(map(str, missing[:8]))}{' …' if len(missing) > 8 else ''}. Were "
                    f"they started, and can they reach port {port} here?"
                )
                break
            except (ValueError, KeyError, TypeError, OSError):
                continue  # not one of ours: a port scanner, a health check
            if hello["count"] != count:
                problem = (
                    f"process {peer.index} on {peer.host} was told of {hello['count']} processes, "
                    f"process 0 of {count}: the numbers must agree"
                )
            elif peer.index in peers or not 0 < peer.index < count:
                before = peers[peer.index].host if peer.index in peers else socket.gethostname()
                problem = (
                    f"two processes say that they are process {peer.index}, on {before} and on "
                    f"{peer.host}: each needs a number of its own"
                )
            if problem:
                peer.send(problem=problem)
            else:
                peers[peer.index] = peer
    for peer in peers.values():
        peer.send(problem=problem, host=socket.gethostname())
    if problem:
        raise UserError(problem)
    return list(peers.values())


def _call(host: str, port: int, count: int, index: int, deadline: float, patience: float) -> Peer:
    """Any other process: calls process 0 until it answers, and waits until all have come."""
    while True:
        try:
            connection = socket.create_connection((host, port), timeout=5)
            break
        except OSError as error:  # also a name that the cluster's DNS does not know yet
            if time.monotonic() > deadline:
                raise UserError(
                    f"process {index} reached nobody at {host}:{port} within {patience:.0f} s "
                    f"({error.strerror or error}): is that process 0's address, and is it running?"
                ) from None
            time.sleep(0.2)
    hello = {"index": index, "count": count, "host": socket.gethostname()}
    connection.sendall(json.dumps(hello).encode() + b"\n")
    connection.settimeout(max(1.0, deadline - time.monotonic()) + 10)
    line = b""
    while not line.endswith(b"\n"):  # byte by byte: what follows belongs to the Lifeline
        byte = connection.recv(1)
        if not byte:
            raise UserError(f"process {index}: process 0 at {host}:{port} hung up at the roll call")
        line += byte
    answer = json.loads(line)
    if answer["problem"]:
        raise UserError(answer["problem"])
    return Peer(connection, 0, answer["host"])
