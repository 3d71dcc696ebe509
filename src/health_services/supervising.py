"""Several server processes behind one socket: kept running until a signal ends them."""

import gc
import multiprocessing
import signal
import socket
import sys
import threading
from collections.abc import Callable

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess, multiprocess

from health_services.errors import OperatorError
from health_services.installation import STOPPING, Say

NOT_STARTED = "The server did not start; the log above tells why."


class Forked(multiprocess.Process):
    """A server process with everything imported already: it answers at once, and shares that memory with the others."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket]) -> None:
        super().__init__(config, sockets)
        fork = multiprocessing.get_context("fork")
        self.process = fork.Process(target=self._begin, args=(sockets,))  # type: ignore[assignment]

    def start(self) -> None:
        """Fork; no signal comes before the new process can end by it."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, set(multiprocess.SIGNALS))
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        # The process alone holds its end: when it dies while it is asked how it is, the question ends with it,
        # and not after HUNG_SECONDS.
        self.child_conn.close()

    def _begin(self, sockets: list[socket.socket]) -> None:
        for number in multiprocess.SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, set(multiprocess.SIGNALS))
        self.target(sockets)


# Elsewhere, libraries of the system do not bear a fork. The supervisor takes whatever stands here.
if sys.platform == "linux":
    multiprocess.Process = Forked  # type: ignore[misc]


class Supervisor(Multiprocess):
    """Keeps server processes running; Ctrl-C after a signal ends them at once.

    `when_started` runs in a thread of its own once they are begun.
    """

    def __init__(
        self, config: uvicorn.Config, listener: socket.socket, say: Say, when_started: Callable[[], None]
    ) -> None:
        super().__init__(config, sockets=[listener])
        self._say = say
        self._when_started = when_started

    def run(self) -> None:
        """Supervise; raises OperatorError where a process does not come so far as to serve."""
        super().run()
        if any(process.exitcode == STARTUP_FAILURE for process in self.processes):
            raise OperatorError(NOT_STARTED)

    def init_processes(self) -> None:
        """Begin them, before there is any other thread, since locks that one holds would never open in a fork."""
        gc.collect()
        gc.freeze()  # or looking for garbage would copy all that they share
        super().init_processes()
        threading.Thread(target=self._when_started, daemon=True).start()

    def join_all(self) -> None:
        """Wait for the processes to finish what is under way."""
        self._say(STOPPING)
        for child in [process.process for process in self.processes]:
            while child.is_alive():
                if signal.SIGINT in self.signal_queue:
                    child.kill()
                child.join(0.1)
