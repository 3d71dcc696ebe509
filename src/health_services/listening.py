"""The socket to serve on, with TLS or without."""

import contextlib
import socket
import ssl
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from uvicorn import Config

from health_services.errors import OperatorError

# Who calls while all processes are at work waits here for an instant; the system cuts it down to what it allows.
BACKLOG = 2048


def allow_files(count: int) -> None:
    """Let this process and those it starts open so many files, or as many as the system grants."""
    if sys.platform != "win32":
        import resource  # noqa: PLC0415 - there is none on Windows

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def listen(host: str, port: int) -> socket.socket:
    """The socket to serve on; raises OperatorError with the reason, before anything else is started."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, OverflowError) as error:
        raise OperatorError(f"There is no address {host}, port {port}: {error}.") from None
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        # From now on nobody else gets the address; who calls early is not refused, but waits.
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise OperatorError(
            f"Cannot listen on {host}, port {port}: {error.strerror}. Choose another with --port (make run PORT=…)."
        ) from None
    listener.set_inheritable(True)
    return listener


@dataclass(frozen=True)
class Certificate:
    """The files of a server's certificate, with its chain, and of its private key; they fit together."""

    chain: Path
    key: Path

    @classmethod
    def of(cls, chain: Path | None, key: Path | None) -> Self | None:
        """None without files; raises OperatorError where one is missing or unreadable, or they do not fit."""
        if chain is None and key is None:
            return None
        if chain is None or key is None:
            raise OperatorError("--tls-cert and --tls-key belong together: give both, or neither.")
        for option, path in (("--tls-cert", chain), ("--tls-key", key)):
            try:
                path.open("rb").close()
            except OSError as error:
                raise OperatorError(f"{option} {path} cannot be read: {error.strerror}.") from None
        try:
            # Where the key needs a passphrase, nobody is to be asked for it at each start.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(chain, key, password="")
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                raise OperatorError(f"The key in {key} is not that of the certificate in {chain}.") from None
            raise OperatorError(
                f"{chain} must hold a certificate, and {key} its private key without a passphrase, both as PEM."
            ) from None
        return cls(chain, key)


def tls_context(_: Config, make: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """The server's side of TLS 1.2 or newer, whatever the machine would allow."""
    context = make()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def when_answered(listener: socket.socket, certificate: Certificate | None, tell: Callable[[], None]) -> None:
    """Call, as anybody could, and tell once a worker has answered."""
    answer = b""
    while not answer:
        # A worker that dies before it answers takes the call with it; the next one is asked again.
        with contextlib.suppress(OSError), _call(listener, certificate) as call:
            call.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            answer = call.recv(1)
        time.sleep(0 if answer else 0.5)
    tell()


def _call(listener: socket.socket, certificate: Certificate | None) -> socket.socket:
    call = socket.create_connection(listener.getsockname()[:2])
    if certificate is None:
        return call
    # It is ourselves whom we call, by an address that the certificate need not name.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        return context.wrap_socket(call)
    except BaseException:
        call.close()
        raise
