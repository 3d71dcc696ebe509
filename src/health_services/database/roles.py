"""The two roles: an owner that migrates, and `health_app`, whose few rights every request runs with."""

import asyncpg

from health_services.database.engine import APPLICATION_ROLE
from health_services.database.opening import driver_url, lost_settings
from health_services.errors import OperatorError

MINIMUM_VERSION = 150_000
# Any number will do, as long as everybody who starts takes the same.
_PREPARATION_LOCK = 4_231_989_772_014_888
_NOBODY = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError)


class UnreachableError(OperatorError):
    """Nobody answers where the database should be."""


async def _connect(url: str) -> asyncpg.Connection:
    try:
        # A statement with a name would not survive a pooler.
        return await asyncpg.connect(driver_url(url), timeout=10, statement_cache_size=0)
    except _NOBODY as error:
        raise _unreachable(error) from None


def _unreachable(error: BaseException) -> "UnreachableError":
    cause = str(error) or "it does not answer"
    return UnreachableError(
        f"The database cannot be reached: {cause}. Check that it runs and that DATABASE_URL is right."
    )


async def prepare(owner_url: str, application_url: str, superuser_url: str | None = None) -> None:
    """Make sure of the server's version, of btree_gist, and of the role that the application's login acts as.

    And that the owner is not held up by row-level security, which `superuser_url` (of the embedded server) can mend.
    Raises OperatorError with a sentence that says what to do.
    """
    application = await _connect(application_url)
    try:
        login = await application.fetchval("SELECT session_user::text")
    finally:
        await application.close()
    owner = await _connect(owner_url)
    try:
        await _check_version(owner)
        # Two starts at once would both find the extension missing, and the slower one would fail.
        await owner.fetchval("SELECT pg_advisory_lock($1)", _PREPARATION_LOCK)
        await _ensure_extension(owner)
        await _ensure_role(owner)
        await _ensure_member(owner, login)
        await _ensure_bypass(owner, superuser_url)
    finally:
        await owner.close()


async def _check_version(owner: asyncpg.Connection) -> None:
    number = int(await owner.fetchval("SHOW server_version_num"))
    if number < MINIMUM_VERSION:
        raise OperatorError(
            f"This is PostgreSQL {number // 10_000}; health-services needs 15 or newer. "
            "Upgrade the server, or unset DATABASE_URL to use the embedded one."
        )


async def _ensure_extension(owner: asyncpg.Connection) -> None:
    if await owner.fetchval("SELECT true FROM pg_extension WHERE extname = 'btree_gist'"):
        return
    try:
        await owner.execute("CREATE EXTENSION IF NOT EXISTS btree_gist")
    except asyncpg.InsufficientPrivilegeError:
        database = await owner.fetchval("SELECT quote_ident(current_database())")
        raise OperatorError(
            "The database user may not create the extension btree_gist. Let a superuser run: "
            f"CREATE EXTENSION btree_gist; in this database, or GRANT CREATE ON DATABASE {database} to the user."
        ) from None
    except (asyncpg.UndefinedFileError, asyncpg.FeatureNotSupportedError):
        raise OperatorError(
            "The PostgreSQL server lacks the extension btree_gist; install its contrib package "
            "(Debian: it is part of postgresql-NN)."
        ) from None


async def _ensure_role(owner: asyncpg.Connection) -> None:
    if await owner.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", APPLICATION_ROLE):
        return
    try:
        await owner.execute(f"CREATE ROLE {APPLICATION_ROLE} NOLOGIN")
    except (asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError):
        return  # made at this moment, from another database of the server
    except asyncpg.InsufficientPrivilegeError:
        user = await owner.fetchval("SELECT quote_ident(session_user)")
        raise OperatorError(
            f"The database user may not create the role {APPLICATION_ROLE}, with which requests run. "
            f"Let an administrator of the server run: "
            f"CREATE ROLE {APPLICATION_ROLE} NOLOGIN; GRANT {APPLICATION_ROLE} TO {user};"
        ) from None


async def _ensure_member(owner: asyncpg.Connection, login: str) -> None:
    # Membership that allows SET ROLE is a thing of its own from PostgreSQL 16 on.
    number = int(await owner.fetchval("SHOW server_version_num"))
    kind = "SET" if number >= 160_000 else "MEMBER"
    if await owner.fetchval("SELECT pg_has_role($1, $2, $3)", login, APPLICATION_ROLE, kind):
        return
    name = await owner.fetchval("SELECT quote_ident($1)", login)
    try:
        await owner.execute(f"GRANT {APPLICATION_ROLE} TO {name}")
    except asyncpg.InsufficientPrivilegeError:
        raise OperatorError(
            f"The database user {name} may not act as {APPLICATION_ROLE}. Let an administrator of the server run: "
            f"GRANT {APPLICATION_ROLE} TO {name};"
        ) from None


async def _ensure_bypass(owner: asyncpg.Connection, superuser_url: str | None) -> None:
    """Migrations and dumps must see every row, and the functions that answer for others too."""
    if await owner.fetchval("SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user"):
        return
    name = await owner.fetchval("SELECT quote_ident(current_user)")
    superuser = await _connect(superuser_url) if superuser_url else owner
    try:
        await superuser.execute(f"ALTER ROLE {name} BYPASSRLS")
    except asyncpg.InsufficientPrivilegeError:
        raise OperatorError(
            f"The database user {name}, who owns the schema, must be able to see every row. Let an administrator of "
            f"the server run: ALTER ROLE {name} BYPASSRLS;"
        ) from None
    finally:
        if superuser is not owner:
            await superuser.close()


async def role_to_take(application_url: str) -> str | None:
    """The role to act as: None where the login has no more rights than `health_app` anyway."""
    application = await _connect(application_url)
    try:
        is_too_mighty = await application.fetchval(
            """SELECT rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb
                      OR EXISTS (SELECT FROM pg_class WHERE relnamespace = 'public'::regnamespace
                                 AND pg_has_role(session_user, relowner, 'USAGE'))
                      OR has_database_privilege(current_database(), 'CREATE')
               FROM pg_roles WHERE rolname = session_user"""
        )
        return APPLICATION_ROLE if is_too_mighty else None
    finally:
        await application.close()


async def insist_on_settings(variable: str, url: str, role: str | None, *, has_pooler: bool) -> None:
    """Raise OperatorError where a pooler drops what our connections ask for, such as their role and their durability.

    UnreachableError where nobody answers.
    """
    try:
        lost = await lost_settings(url, role=role, has_pooler=has_pooler)
    except _NOBODY as error:
        raise _unreachable(error) from None
    if lost:
        raise OperatorError(
            f"{variable} leads through a pooler, which drops what connections ask for ({', '.join(lost)}). Set "
            "HEALTH_DATABASE_POOLER=true for DATABASE_URL and HEALTH_READ_DATABASE_URL, and let "
            "HEALTH_MIGRATION_DATABASE_URL lead to PostgreSQL directly."
        )
