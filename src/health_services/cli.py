"""The operator's commands. Exit codes: 0 done, 1 an error that its message explains, 2 the command line is off."""

import asyncio
import contextlib
import gc
import getpass
import os
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

import orjson
import typer
from pydantic import SecretStr
from rich.console import Console
from rich.progress import Progress
from sqlalchemy.ext.asyncio import AsyncSession

from health_services import account_commands, auditing, key_rotation, serving
from health_services.api.middleware import configure_logging
from health_services.audit.service import of_command
from health_services.auth.passwords import Passwords
from health_services.auth.service import create_account
from health_services.database import backup as backups
from health_services.database.constraints import translate
from health_services.errors import HealthServicesError, OperatorError
from health_services.installation import Installation, installation
from health_services.listening import Certificate, listen
from health_services.settings import Settings, SettingsError, load_settings, logs_as_text, unknown_variables

cli = typer.Typer(
    name="health-services",
    help="The open health-services system: run it, look after it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

T = TypeVar("T")
PASSWORD_VARIABLE = "HEALTH_ADMIN_PASSWORD"  # noqa: S105


def say(sentence: str) -> None:
    """Tell the operator, on standard error: standard output is for what a command answers.

    Where nobody reads it any more (a closed terminal, a log collector that ended), that stops nothing.
    """
    with contextlib.suppress(OSError):
        print(sentence, file=sys.stderr, flush=True)


def main() -> None:
    """Run a command; what goes wrong becomes a sentence and exit code 1."""
    gc.freeze()  # What was imported is no garbage; to look for some in it at the end takes half a second.
    gc.enable()
    try:
        cli()
    except (OperatorError, SettingsError, HealthServicesError) as error:
        raise SystemExit(_failed(str(error))) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except OSError as error:
        raise SystemExit(_failed(f"{error.filename or 'The system'}: {error.strerror or error}.")) from None
    except Exception as error:
        refusal = translate(error)
        if refusal is None:
            raise
        raise SystemExit(_failed(refusal.detail)) from None


def _failed(message: str) -> int:
    say(f"Error: {message}")
    return 1


def _settings() -> Settings:
    settings = load_settings()
    configure_logging(settings.log_level, as_text=logs_as_text(settings))
    for warning in unknown_variables():
        say(f"Warning: {warning}")
    return settings


cli.add_typer(key_rotation.commands(_settings, say), name="keys")
cli.add_typer(auditing.commands(_settings, say), name="audit")


def _sending_settings() -> Settings:
    settings = _settings()
    if settings.smtp_url is not None and settings.public_url is None:
        say(
            "Warning: HEALTH_PUBLIC_URL is not set, so the links in mails lead to localhost, "
            "where nobody on another machine can follow them."
        )
    return settings


def _in_session(work: Callable[[AsyncSession, Installation], Awaitable[T]]) -> T:
    """Run `work` in one transaction of the migrated database, with the application's rights."""

    async def run(place: Installation) -> T:
        role = await place.prepare(lambda _: None)
        await place.migrate()
        database = place.database(role, place.vault())
        try:
            async with database.writing() as session, session.begin():
                return await work(session, place)
        finally:
            await database.close()

    with installation(_settings(), say) as place:
        return asyncio.run(run(place))


@cli.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Server processes.")] = 1,
    migrate: Annotated[bool, typer.Option(help="Bring the schema to head first.")] = True,
    worker: Annotated[bool, typer.Option(help="Send messages too.")] = True,
    tls_cert: Annotated[Path | None, typer.Option(help="Serve by TLS: the certificate and its chain, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key, PEM without a passphrase.")] = None,
) -> None:
    """Migrate (unless --no-migrate), then serve and send messages (unless --no-worker) until Ctrl-C."""
    settings = _sending_settings()
    certificate = Certificate.of(tls_cert, tls_key)
    load = partial(serving.load_application, has_worker=worker)
    with listen(host, port) as listener, installation(settings, say, meanwhile=load) as place:
        serving.serve(place, listener, certificate, workers=workers, migrate=migrate, has_worker=worker, say=say)


@cli.command()
def worker() -> None:
    """Send messages until Ctrl-C, without serving; any number of workers may run. Finishes what is under way."""
    from health_services import sending  # noqa: PLC0415 - with all that sends, which other commands go without

    with installation(_sending_settings(), say) as place:
        sending.work(place, say)


@cli.command()
def mail_test(address: Annotated[str, typer.Argument(help="Where the test mail goes.")]) -> None:
    """Send one test mail with the mail settings as they are, and say what the mail server answers."""
    from health_services import sending  # noqa: PLC0415 - as above

    say(asyncio.run(sending.mail_test(_settings(), address)))


@cli.command()
def migrate() -> None:
    """Bring the database's schema to this version's head."""

    async def run(place: Installation) -> None:
        await place.prepare(say)
        await place.migrate()

    with installation(_settings(), say) as place:
        asyncio.run(run(place))
    say("The schema is current.")


def _new_password() -> str:
    given = os.environ.get(PASSWORD_VARIABLE)
    if given:
        return given
    if not sys.stdin.isatty():
        raise OperatorError(f"No terminal to ask for the password; give it in the environment as {PASSWORD_VARIABLE}.")
    password = getpass.getpass("Password (8 to 128 characters): ")
    if password != getpass.getpass("Again: "):
        raise OperatorError("The two passwords differ.")
    return password


cli.add_typer(account_commands.Accounts(_settings, _in_session, _new_password, say).group(), name="user")


@cli.command()
def create_admin(
    email: Annotated[str, typer.Option(prompt=True, envvar="HEALTH_ADMIN_EMAIL", help="Signs in with it.")],
    name: Annotated[str, typer.Option(help="As others see it.")] = "Administrator",
) -> None:
    """Make an administrator; asks for the password, or takes it from HEALTH_ADMIN_PASSWORD. Works while it serves."""
    request = serving.administrator(email, _new_password(), name)

    async def work(session: AsyncSession, place: Installation) -> None:
        user = await create_account(session, Passwords.of(place.settings), request)
        await of_command(session, "create-admin", user.id)

    _in_session(work)
    say(f"{request.email} is an administrator now.")


@cli.command()
def demo(
    seed: Annotated[int, typer.Option(help="The same seed makes the same region.")] = 1,
    force: Annotated[bool, typer.Option(help="Add the region to a database that has other data.")] = False,
) -> None:
    """Fill the database with a believable region and print four logins, for demonstration only."""

    from health_services.demo import region  # noqa: PLC0415 - a server does not need it

    async def work(place: Installation) -> list[region.Login]:
        vault = place.vault()
        role = await place.prepare(lambda _: None)
        await place.migrate()
        database = place.database(role, vault)
        try:
            with Progress(transient=True, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
                task = bar.add_task("The region", total=None)
                return await region.build(
                    database,
                    Passwords.of(place.settings),
                    seed=seed,
                    now=serving.utc_now(),
                    force=force,
                    progress=lambda what, done, total: bar.update(task, description=what, completed=done, total=total),
                )
        finally:
            await database.close()

    with installation(_settings(), say) as place:
        logins = asyncio.run(work(place))
    print("Four logins, for demonstration only; nobody else in the region can sign in:")
    for login in logins:
        print(f"  {login.role:<8} {login.email:<32} {login.password}")


@cli.command()
def database_url(
    owner: Annotated[bool, typer.Option(help="The owner's, who can change the schema.")] = False,
) -> None:
    """Print the URL of the database in use, for psql; the embedded server runs as long as something uses it."""
    with installation(_settings(), say) as place:
        print(place.owner_url if owner else place.application_url)
        if place.is_embedded and sys.stdout.isatty():
            say("The embedded server runs as long as a command such as serve uses it.")


@cli.command()
def openapi() -> None:
    """Print the OpenAPI document."""
    from health_services.main import create_app  # noqa: PLC0415 - other commands go without, or load it later

    placeholders = {"database_url": SecretStr("postgresql:///none"), "secret_key": SecretStr("-" * 32)}
    app = create_app(load_settings().model_copy(update=placeholders))
    print(orjson.dumps(app.openapi(), option=orjson.OPT_INDENT_2).decode())


@cli.command()
def backup(
    file: Annotated[Path, typer.Argument(help="An older one there is replaced, once the new one is whole.")],
) -> None:
    """Write a consistent dump of the whole database; it holds personal data, so only its owner can read it."""
    with installation(_settings(), say) as place:
        asyncio.run(auditing.note(place, "backup"))
        backups.dump(place.owner_url, file, place.bin_dir)
    say(f"Wrote {file}.")


@cli.command()
def restore(file: Annotated[Path, typer.Argument(exists=True, dir_okay=False)]) -> None:
    """Restore a dump into an empty database, whole or not at all, and bring its schema to head."""
    with installation(_settings(), say) as place:
        asyncio.run(place.prepare(say))
        backups.restore(place.owner_url, file, place.bin_dir)
        asyncio.run(place.migrate())
        asyncio.run(auditing.note(place, "restore"))
    say(f"Restored {file}.")
