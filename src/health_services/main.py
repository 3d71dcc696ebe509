"""The composition root: features mounted, gateways wired, nothing else."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from functools import partial
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute

import health_services.accounts.endpoints
import health_services.api_keys.endpoints
import health_services.appointment_slots.endpoints
import health_services.appointments.endpoints
import health_services.audit.endpoints
import health_services.auth.endpoints
import health_services.auth.pages
import health_services.calendars.endpoints
import health_services.clinics.endpoints
import health_services.doctors.endpoints
import health_services.emergency_accesses.endpoints
import health_services.invitations.endpoints
import health_services.monitoring.endpoints
import health_services.notifications.endpoints
import health_services.patients.endpoints
import health_services.preferences.endpoints
import health_services.privacy.endpoints
import health_services.push_subscriptions.endpoints
import health_services.second_factors.endpoints
import health_services.sessions.endpoints
import health_services.webhooks.endpoints
from health_services.access.permissions import Rule, rule_of
from health_services.access.recording import Refusals
from health_services.access.route import GuardedRoute
from health_services.access.tokens import Tokens, secrets_of
from health_services.api import documentation, health, openapi, problems, security_txt
from health_services.api.application import Application
from health_services.api.cors import OPTIONS, Cors
from health_services.api.kept import Kept
from health_services.api.middleware import Surroundings, configure_logging
from health_services.api.origin import Origin
from health_services.api.overload import Overload, Room, any_of
from health_services.api.route_table import RouteTable
from health_services.api.traffic import Traffic
from health_services.auth.gate import Gate
from health_services.auth.passwords import Passwords
from health_services.database import migrations
from health_services.database.engine import Database
from health_services.database.key_file import vault_for
from health_services.freshness.answers import Answers
from health_services.freshness.versions import FILE_NAME, Versions
from health_services.limits.limiter import Limiter
from health_services.monitoring import service as monitoring
from health_services.notifications.unsubscribing import links_of
from health_services.outgoing.mail import TIMEOUT_SECONDS
from health_services.outgoing.push_keys import key_of, public_key_of
from health_services.sessions.service import Lifetimes
from health_services.settings import Settings, load_settings, logs_as_text
from health_services.worker import Worker, run_until

API_PREFIX = "/api/v1"
# The longest send, and writing down what became of it: what is cut off is sent again.
WORKER_GRACE_SECONDS = TIMEOUT_SECONDS + 5

# In the guide's order; it is also the order of the documentation.
ROUTERS = (
    health_services.auth.endpoints.router,
    health_services.sessions.endpoints.router,
    health_services.second_factors.endpoints.router,
    health_services.invitations.endpoints.accept_router,
    health_services.patients.endpoints.router,
    health_services.privacy.endpoints.router,
    health_services.audit.endpoints.patient_router,
    health_services.emergency_accesses.endpoints.router,
    health_services.appointments.endpoints.patient_router,
    health_services.doctors.endpoints.router,
    health_services.appointments.endpoints.doctor_router,
    health_services.clinics.endpoints.router,
    health_services.doctors.endpoints.clinic_router,
    health_services.appointment_slots.endpoints.router,
    health_services.appointments.endpoints.router,
    health_services.notifications.endpoints.router,
    health_services.preferences.endpoints.router,
    health_services.preferences.endpoints.unsubscribe_router,
    health_services.push_subscriptions.endpoints.key_router,
    health_services.push_subscriptions.endpoints.router,
    health_services.calendars.endpoints.feed_router,
    health_services.calendars.endpoints.router,
    health_services.accounts.endpoints.router,
    health_services.second_factors.endpoints.user_router,
    health_services.invitations.endpoints.router,
    health_services.invitations.endpoints.patient_router,
    health_services.api_keys.endpoints.router,
    health_services.webhooks.endpoints.router,
    health_services.audit.endpoints.router,
)
# Outside the API: for machines that watch over this one, and for people who come from a mail.
PLAIN_ROUTERS = (
    health.router,
    health_services.monitoring.endpoints.router,
    security_txt.router,
    health_services.auth.pages.router,
)
TAGS = (
    ("Authentication", "Register, sign in, see who is signed in."),
    ("Patients", "Records of patients: for themselves and for those who care for them."),
    ("Doctors", "The public directory of doctors; kept by administrators."),
    ("Clinics", "The public directory of clinics, and who works at their desks."),
    ("Appointment slots", "Periods that doctors offer; what can be booked is public."),
    ("Appointments", "Booking and cancelling."),
    ("Notifications", "What is sent to whom, and how people want to be told."),
    ("Calendar", "Appointments in people's own calendars (iCalendar)."),
    ("Users", "Accounts: one's own, everybody's for administrators, and inviting people to them."),
    ("API keys", "For machines that call in somebody's name."),
    ("Webhooks", "Other systems are told of what happens (Standard Webhooks)."),
    ("Audit", "Who did what to whose data."),
    ("Health", "For load balancers and monitoring."),
)
DESCRIPTION = """Find a doctor, book, be seen.

Instants are RFC 3339 with an offset, answered in UTC. Lists take `limit` (100 at most) and name the next page in the
`Link` header, by a `cursor` that says where it begins; `skip` leaves rows out. Every error is an
`application/problem+json` with a stable `error_code`. A `POST` with an `Idempotency-Key` can be sent again without
harm."""


def create_app(settings: Settings | None = None, *, role: str | None = None, has_worker: bool = False) -> FastAPI:
    """The application; `role` is the database role that requests act as, where the login has more rights.

    `has_worker`: messages are sent from this process too.
    """
    settings = settings or load_settings()
    app = Application(
        title="Health Services API",
        version=version("health-services"),
        description=DESCRIPTION,
        openapi_tags=[{"name": name, "description": description} for name, description in TAGS],
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
    )
    _wire(app, settings, role)
    app.state.open_worker = _worker(settings, role) if has_worker else None
    app.router.routes.append(RouteTable(app, API_PREFIX, (route for router in ROUTERS for route in _routes(router))))
    for router in PLAIN_ROUTERS:
        app.include_router(router)
    documentation.mount(app)
    problems.install(app, allowed_methods)
    # The last one is the first to see a request; a web page is to be able to read that it asks too often.
    app.put_in_front(Overload)
    if settings.keep_seconds:
        is_old = settings.read_database_url is not None
        app.put_in_front(
            Kept, answers=app.state.answers, public=any_of(_paths(lambda rule: rule.cache == "public")), is_old=is_old
        )
    app.put_in_front(Traffic)
    if settings.cors_origins:
        app.put_in_front(Cors, allow_origins=settings.cors_origins, **OPTIONS)
    app.put_in_front(Surroundings)
    app.put_in_front(Origin, trusted=settings.trusted_proxies)
    _document(app)
    return app


def _worker(settings: Settings, role: str | None) -> Callable[[], AbstractAsyncContextManager[Worker]]:
    # With its gateways and the wording of mails it is a quarter of all that is loaded, and answers nobody.
    from health_services.lanes import open_worker  # noqa: PLC0415

    return partial(open_worker, settings, role)


def _wire(app: FastAPI, settings: Settings, role: str | None) -> None:
    assert settings.database_url is not None, "the launcher decides which database"
    replica = settings.read_database_url
    tokens = Tokens(secrets_of(settings), timedelta(minutes=settings.access_token_minutes))
    app.state.vault = vault_for(settings)
    app.state.database = Database.connect(
        settings.database_url.get_secret_value(),
        role=role,
        pool_size=settings.database_pool_size,
        pool_timeout=settings.database_pool_timeout,
        timeouts={
            "statement_timeout_ms": settings.statement_timeout_ms,
            "lock_timeout_ms": settings.lock_timeout_ms,
        },
        vault=app.state.vault,
        has_pooler=settings.database_pooler,
        replica_url=replica.get_secret_value() if replica else None,
        read_pool_size=settings.read_pool_size,
    )
    app.state.refusals = Refusals(app.state.database)
    app.state.versions = Versions(settings.data_dir / FILE_NAME)
    app.state.answers = Answers(app.state.versions, settings.keep_seconds)
    app.state.tokens = tokens
    lifetimes = Lifetimes(
        tokens, refresh=timedelta(days=settings.refresh_token_days), longest=timedelta(days=settings.session_days)
    )
    app.state.limiter = Limiter.of(settings)
    app.state.room = Room.of(
        settings, directory=_paths(lambda rule: rule.is_public), passwords=_paths(lambda rule: rule.has_turns)
    )
    app.state.gate = Gate(Passwords.of(settings), lifetimes, app.state.limiter)
    app.state.is_current = partial(migrations.is_current, known=migrations.revisions())
    app.state.settings = settings
    app.state.links = links_of(settings)
    app.state.queues = monitoring.summary


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: Settings = app.state.settings
    configure_logging(settings.log_level, as_text=logs_as_text(settings))
    await app.state.gate.passwords.prepare()
    app.state.limiter.prepare()
    if settings.keep_seconds:
        app.state.versions.open()
    app.state.vault.prepare()
    app.state.push_key = public_key_of(key_of(settings))
    try:
        async with _working(app):
            yield
    finally:
        await app.state.limiter.close()
        app.state.versions.close()
        app.state.gate.passwords.close()
        await app.state.database.close()


@asynccontextmanager
async def _working(app: FastAPI) -> AsyncIterator[None]:
    """Send messages as long as the application runs, where this process is to; then finish what is under way."""
    if app.state.open_worker is None:
        yield
        return
    stopped = asyncio.Event()
    async with app.state.open_worker() as worker:
        running = asyncio.create_task(run_until(worker, stopped, WORKER_GRACE_SECONDS))
        try:
            yield
        finally:
            stopped.set()
            await running


def _routes(router: APIRouter) -> list[APIRoute]:
    return [route for route in router.routes if isinstance(route, APIRoute)]


def access_rules() -> dict[str, Rule]:
    """Each operation's access rule, by its id."""
    routes = [route for router in ROUTERS for route in _routes(router)]
    assert all(isinstance(route, GuardedRoute) for route in routes)
    return {route.name: rule_of(route.endpoint) for route in routes}


def _paths(are_meant: Callable[[Rule], bool]) -> list[str]:
    routes = [route for router in ROUTERS for route in _routes(router)]
    return [API_PREFIX + route.path_format for route in routes if are_meant(rule_of(route.endpoint))]


def allowed_methods(path: str) -> list[str]:
    """The methods that some route takes at this path, for the Allow header."""
    methods: set[str] = set()
    for prefix, router in [*((API_PREFIX, router) for router in ROUTERS), *(("", router) for router in PLAIN_ROUTERS)]:
        for route in _routes(router):
            if route.path_regex.match(path.removeprefix(prefix)):
                methods |= route.methods or set()
    return sorted(methods) or ["GET"]


def _document(app: FastAPI) -> None:
    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            described = FastAPI(generate_unique_id_function=lambda route: route.name)
            for router in ROUTERS:
                described.include_router(router, prefix=API_PREFIX)
            for router in PLAIN_ROUTERS:
                described.include_router(router)
            app.openapi_schema = openapi.describe(app, described.routes, access_rules())
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]
