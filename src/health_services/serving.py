"""Running the HTTP server: one process, or several behind one socket."""

import asyncio
import contextlib
import gc
import ipaddress
import os
import signal
import socket
import sys
import threading
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import FrameType

import uvicorn
from fastapi import FastAPI
from pydantic import ValidationError
from uvicorn.config import STARTUP_FAILURE

from health_services.api.protocol import MOST_CONNECTIONS, Protocol
from health_services.audit.service import of_command
from health_services.auth.passwords import Passwords, why_refused
from health_services.auth.schemas import UserRegister
from health_services.auth.service import create_account
from health_services.errors import OperatorError
from health_services.installation import STOPPING, Installation, Say, end_at_once, serving_settings
from health_services.limits.limiter import Limiter
from health_services.listening import BACKLOG, Certificate, allow_files, tls_context, when_answered
from health_services.settings import Settings, load_settings
from health_services.supervising import NOT_STARTED, Supervisor
from health_services.users.models import Role
from health_services.users.repository import UserRepository

# How a worker process learns the role; not a setting, since an operator never chooses it.
_ROLE_VARIABLE = "_HEALTH_SERVICES_DATABASE_ROLE"
_WORKER_VARIABLE = "_HEALTH_SERVICES_HAS_WORKER"
STOP_SECONDS = 10
# For the database, the outgoing calls, and what else is open.
OTHER_FILES = 2_000
HUNG_SECONDS = 30


async def make_ready(place: Installation, settings: Settings, say: Say, *, migrate: bool) -> str | None:
    """Roles, schema and the first administrator; the database role that requests act as."""
    admin = admin_of(settings)
    role = await place.prepare(say)
    if migrate:
        await place.migrate()
    else:
        await place.insist_on_schema(role)
    if admin:
        await _first_admin(place, settings, admin, role, say)
    return role


async def _first_admin(
    place: Installation, settings: Settings, admin: UserRegister, role: str | None, say: Say
) -> None:
    """Make the administrator of the settings where there is none; several servers may start at once."""
    database = place.database(role, place.vault())
    try:
        async with database.writing() as session, session.begin():
            if await UserRepository(session).has_admin(lock=True):
                return
            # Somebody may have deactivated the only administrator: that must not keep the service down.
            if await UserRepository(session).credentials(admin.email) is not None:
                say(f"HEALTH_ADMIN_EMAIL: {admin.email} has an account already, which is no active administrator's.")
                return
            with contextlib.closing(Passwords.of(settings)) as passwords:  # no thread of it is left when processes fork
                user = await create_account(session, passwords, admin)
            await of_command(session, "serve: first administrator", user.id)
        say(f"Made the administrator {admin.email}.")
    finally:
        await database.close()


def admin_of(settings: Settings) -> UserRegister | None:
    """The administrator that the settings ask for; raises OperatorError with a sentence that names the variable."""
    if not (settings.admin_email and settings.admin_password):
        return None
    return administrator(
        settings.admin_email,
        settings.admin_password.get_secret_value(),
        called=("HEALTH_ADMIN_EMAIL", "HEALTH_ADMIN_PASSWORD"),
    )


def administrator(
    email: str, password: str, name: str = "Administrator", *, called: tuple[str, str] = ("The e-mail", "The password")
) -> UserRegister:
    """An administrator's account to be made; raises OperatorError with a sentence that says what is unfit."""
    reason = why_unfit(password, email=email, name=name)
    if reason:
        raise OperatorError(f"{called[1]} {reason}.")
    try:
        return UserRegister.model_validate({"name": name, "email": email, "password": password, "role": Role.ADMIN})
    except ValidationError as error:
        problem = error.errors()[0]
        what = called[0] if problem["loc"] == ("email",) else f"The {problem['loc'][0]}:"
        raise OperatorError(f"{what} {problem['msg'].removeprefix('Value error, ')}.") from None


def why_unfit(password: str, *, email: str, name: str) -> str | None:
    """Why nobody should have this password; None if it is fine."""
    if any(unicodedata.category(character) == "Cs" for character in password):
        return "is not valid text"
    if not 8 <= len(password) <= 128:
        return "must have 8 to 128 characters"
    return why_refused(password, email=email, name=name)


def utc_now() -> datetime:
    """Now, for commands; requests have a dependency of their own."""
    return datetime.now(UTC)


def at_address(settings: Settings, host: str, port: int, scheme: str = "http") -> Settings:
    """The settings with what follows from the address that is listened on."""
    is_open = not ipaddress.ip_address(host.partition("%")[0]).is_loopback
    metrics = ("off" if is_open else "on") if settings.metrics == "auto" else settings.metrics
    public_url = settings.public_url or f"{scheme}://localhost:{port}"
    return settings.model_copy(update={"metrics": metrics, "public_url": public_url})


def serve(
    place: Installation,
    listener: socket.socket,
    certificate: Certificate | None,
    *,
    workers: int,
    migrate: bool,
    has_worker: bool,
    say: Say,
) -> None:
    """Serve until a signal ends it; Ctrl-C after that ends it at once."""
    host, port = listener.getsockname()[:2]
    scheme = "https" if certificate else "http"
    settings = at_address(serving_settings(place), host, port, scheme)
    asyncio.run(_try_to_count(settings))
    role = asyncio.run(make_ready(place, settings, say, migrate=migrate))
    base = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
    ready = f"Ready on {base} – documentation under /docs, Ctrl-C stops."
    allow_files(MOST_CONNECTIONS + OTHER_FILES)
    load_application(has_worker=has_worker)
    with _ends_on_signals():
        if workers == 1:
            app = _application(settings, role, has_worker=has_worker)
            _Server(_config(app, certificate), say, ready).serve_on(listener)
            return
        _hand_over(settings, role, has_worker=has_worker)
        config = _config("health_services.serving:worker_app", certificate, workers)
        Supervisor(config, listener, say, lambda: when_answered(listener, certificate, lambda: say(ready))).run()


def load_application(*, has_worker: bool) -> None:
    """Import what serves: most of a start's time, and best spent while the database starts.

    Nothing of it is garbage. To look for some meanwhile, and while it serves, takes long, and finds nothing.
    """
    gc.disable()
    try:
        import health_services.main  # noqa: PLC0415

        if has_worker:
            import health_services.lanes  # noqa: PLC0415, F401 - before processes fork, so that they share it
    finally:
        gc.freeze()
        gc.enable()


def _application(settings: Settings, role: str | None, *, has_worker: bool) -> FastAPI:
    from health_services.main import create_app  # noqa: PLC0415 - loaded by now, see load_application

    return create_app(settings, role=role, has_worker=has_worker)


async def _try_to_count(settings: Settings) -> None:
    """Raise OperatorError where limits cannot be counted, before a process starts that would have to."""
    limiter = Limiter.of(settings)
    limiter.prepare()
    await limiter.close()


class _Server(uvicorn.Server):
    """Tells when it has begun to answer, and when it stops; Ctrl-C after that ends it at once."""

    def __init__(self, config: uvicorn.Config, say: Say, ready: str) -> None:
        super().__init__(config)
        self._say = say
        self._ready = ready

    def serve_on(self, listener: socket.socket) -> None:
        """Serve until a signal ends it; raises OperatorError where it does not come so far."""
        try:
            self.run(sockets=[listener])
        except SystemExit:
            if self.started:  # a signal's
                raise
            raise OperatorError(NOT_STARTED) from None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._say(self._ready)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._say(STOPPING)
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit and sig == signal.SIGINT:
            end_at_once()
        super().handle_exit(sig, frame)


def _config(app: FastAPI | str, certificate: Certificate | None, workers: int = 1) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        factory=isinstance(app, str),
        workers=workers,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        # Which limits connections in place of uvicorn's limit_concurrency, and says why.
        http=Protocol,
        backlog=BACKLOG,
        timeout_graceful_shutdown=STOP_SECONDS,
        # The default of 5 s would kill workers of a machine that is busy.
        timeout_worker_healthcheck=HUNG_SECONDS,
        ssl_certfile=certificate.chain if certificate else None,
        ssl_keyfile=certificate.key if certificate else None,
        ssl_context_factory=tls_context if certificate else None,
    )


def _hand_over(settings: Settings, role: str | None, *, has_worker: bool) -> None:
    """Let server processes find in their environment what was found out here."""
    assert settings.database_url
    assert settings.secret_key
    assert settings.vapid_private_key
    os.environ["DATABASE_URL"] = settings.database_url.get_secret_value()
    os.environ["HEALTH_SECRET_KEY"] = settings.secret_key.get_secret_value()
    os.environ["HEALTH_VAPID_PRIVATE_KEY"] = settings.vapid_private_key.get_secret_value()
    os.environ["HEALTH_METRICS"] = settings.metrics
    os.environ["HEALTH_PUBLIC_URL"] = settings.public_url or ""
    os.environ[_ROLE_VARIABLE] = role or ""
    os.environ[_WORKER_VARIABLE] = "yes" if has_worker else ""


def worker_app() -> FastAPI:
    """The application of one of several worker processes, which ends when its parent does."""
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    has_worker = bool(os.environ.get(_WORKER_VARIABLE))
    try:
        return _application(load_settings(), os.environ.get(_ROLE_VARIABLE) or None, has_worker=has_worker)
    except OperatorError as error:  # of which uvicorn knows nothing: it would start a process after the other
        sys.stderr.write(f"{error}\n")
        raise SystemExit(STARTUP_FAILURE) from None


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def _ends_on_signals() -> Iterator[None]:
    """Turn SIGTERM, which would end the process at once, into an end that cleans up."""

    def end(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    previous = signal.signal(signal.SIGTERM, end)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            yield
    finally:
        signal.signal(signal.SIGTERM, previous)
