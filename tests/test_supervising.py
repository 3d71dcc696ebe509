"""Server processes that are forked: each ends by a signal from its first moment on."""

import os
import signal
import socket
import time

import uvicorn

from health_services.supervising import Forked

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Slow(Forked):
    """It has not come to listen to signals itself."""

    def target(self, sockets: list[socket.socket] | None = None) -> None:
        time.sleep(60)


def test_a_signal_in_its_first_moment_ends_it():
    """The supervisor keeps signals for its loop; a process that inherited that would never end."""
    heard: list[int] = []
    before = {number: signal.signal(number, lambda number, _: heard.append(number)) for number in SIGNALS}
    try:
        for number in SIGNALS:
            process = Slow(uvicorn.Config("nothing:at_all"), [])
            process.start()
            assert process.pid
            os.kill(process.pid, number)
            process.process.join(20)
            code = process.exitcode
            process.kill()
            assert code == -number
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert heard == []
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & set(SIGNALS)


class Dying(Forked):
    """It is killed while it is asked how it is."""

    def target(self, sockets: list[socket.socket] | None = None) -> None:
        self.child_conn.recv()
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_dies_when_asked_is_dead_at_once():
    """It would else be missed only after the time that a busy one has to answer; siblings hold no end of its pipe."""
    processes = [Dying(uvicorn.Config("nothing:at_all"), []), Slow(uvicorn.Config("nothing:at_all"), [])]
    for process in processes:
        process.start()
    begun = time.monotonic()
    assert not processes[0].is_alive(timeout=40)
    assert time.monotonic() - begun < 20
    for process in processes:
        process.kill()
        process.join()
