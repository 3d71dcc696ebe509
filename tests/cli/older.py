"""A real server that says it were an older one: on the wire its number is changed, and nothing else."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

AS_OLD = b"140012"


def _pump(source: socket.socket, target: socket.socket, number: bytes) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data.replace(number, AS_OLD))
        target.shutdown(socket.SHUT_WR)


def _relay(caller: socket.socket, path: str, number: bytes) -> None:
    with caller, socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        answers = threading.Thread(target=_pump, args=(server, caller, number), daemon=True)
        answers.start()
        _pump(caller, server, number)
        answers.join()


def _accept(listener: socket.socket, path: str, number: bytes) -> None:
    with suppress(OSError):
        while True:
            caller, _ = listener.accept()
            threading.Thread(target=_relay, args=(caller, path, number), daemon=True).start()


@contextmanager
def aged(path: str, number: str) -> Iterator[int]:
    """A port behind which the server at the socket `path` calls its version 14 instead of `number`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_accept, args=(listener, path, number.encode()), daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)
