"""Every setting of the service: one class, typed, documented; unsafe values are refused."""

import difflib
import json
import os
import re
import sys
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import platformdirs
from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "HEALTH_"
MINIMUM_SECRET_BYTES = 32


def default_data_dir() -> Path:
    """`var/` of the checkout the package was installed from, else the platform's user data directory."""
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "pyproject.toml").is_file() and (checkout / "migrations").is_dir():
        return checkout / "var"
    return Path(platformdirs.user_data_dir("health-services"))


class SettingsError(Exception):
    """A setting is malformed; the message names it, for whoever runs the command."""


class Settings(BaseSettings):
    """What an operator can choose, from the environment; each field is `HEALTH_<NAME>` unless it says otherwise."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True)

    database_url: SecretStr | None = Field(
        None, validation_alias="DATABASE_URL", description="PostgreSQL 15+; unset: the embedded server"
    )
    migration_database_url: SecretStr | None = Field(None, description="the owner's URL, for migrations")
    data_dir: Path = Field(
        default_factory=default_data_dir, description="the embedded server's data and generated secrets"
    )
    postgres_bin: Path | None = Field(None, description="directory of the PostgreSQL programs to embed")
    secret_key: SecretStr | None = Field(None, description="signs tokens; at least 32 bytes")
    admin_email: str | None = Field(None, description="with admin_password: made at start if there is no administrator")
    admin_password: SecretStr | None = None
    cors_origins: list[str] = Field([], description="JSON list of the origins that browsers may call from")
    public_url: str | None = Field(None, description="base of links in messages; unset: http://localhost:<port>")
    smtp_url: SecretStr | None = Field(
        None,
        description="smtp:// (STARTTLS where offered), smtp+starttls://, smtps://, with user:password@; "
        "unset: mails become files under <data dir>/mail",
    )
    mail_from: str | None = Field(None, description="sender of mails; unset: no-reply@ the host of public_url")
    sms_url: SecretStr | None = Field(
        None, description="Twilio-compatible gateway, https://user:password@host/path; unset: no SMS are sent"
    )
    sms_from: str | None = Field(None, description="sender of SMS: a number or name that the gateway knows")
    vapid_private_key: SecretStr | None = Field(
        None, description="base64url P-256 key of Web Push; unset: generated once into the data directory"
    )
    webhook_allow_private: bool = Field(
        False, description="let webhooks reach private and loopback addresses, and http://"
    )
    default_locale: str = Field("en", pattern="^(en|de|es|fr|pt|hi|ar)$", description="language of messages")
    worker_concurrency: int = Field(8, ge=1, le=100, description="messages under way at once, for each channel")
    worker_poll_seconds: float = Field(1, ge=0.05, le=60, description="how often an idle worker looks for messages")
    metrics: Literal["auto", "on", "off"] = Field(
        "auto", description="Prometheus text at /metrics; auto: only where the server listens on loopback"
    )
    access_token_minutes: int = Field(60, ge=1, le=1440, description="life of an access token")
    password_memory_kib: int = Field(65536, ge=19456, le=1048576, description="Argon2id memory (OWASP floor 19456)")
    password_time_cost: int = Field(3, ge=2, le=20, description="Argon2id passes (OWASP floor 2)")
    password_parallelism: int = Field(1, ge=1, le=8, description="Argon2id lanes")
    database_pool_size: int = Field(16, ge=1, le=500, description="connections per server process")
    database_pool_timeout: float = Field(10, gt=0, le=60, description="seconds to wait for a connection before 503")
    statement_timeout_ms: int = Field(10_000, ge=100, le=600_000, description="longest statement of a request")
    lock_timeout_ms: int = Field(5_000, ge=100, le=600_000, description="longest wait for a lock in a request")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$")
    log_format: str = Field("auto", pattern="^(auto|json|text)$", description="auto: text on a terminal, else JSON")

    @field_validator("secret_key")
    @classmethod
    def _long_enough(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and len(key.get_secret_value().encode()) < MINIMUM_SECRET_BYTES:
            raise ValueError(f"needs at least {MINIMUM_SECRET_BYTES} bytes")
        return key

    @field_validator("database_url", "migration_database_url")
    @classmethod
    def _postgresql(cls, url: SecretStr | None) -> SecretStr | None:
        scheme = url.get_secret_value().partition("://")[0] if url is not None else "postgresql"
        if scheme not in {"postgresql", "postgres", "postgresql+asyncpg"}:
            raise ValueError("must be a postgresql:// URL")
        return url

    @field_validator("public_url")
    @classmethod
    def _base(cls, url: str | None) -> str | None:
        scheme, _, rest = (url or "http://localhost").partition("://")
        if scheme not in {"http", "https"} or not rest or any(c in rest for c in "?# "):
            raise ValueError("must be a URL such as https://health.example.org")
        return url

    @field_validator("smtp_url", "sms_url")
    @classmethod
    def _gateway(cls, url: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if url is None:
            return None
        known = {"smtp_url": ("smtp", "smtp+starttls", "smtps"), "sms_url": ("https", "http")}[str(info.field_name)]
        try:
            parts = urlsplit(url.get_secret_value())
            is_fine = parts.scheme in known and bool(parts.hostname) and (parts.port is None or parts.port > 0)
        except ValueError:
            is_fine = False
        if not is_fine:
            raise ValueError(f"must be a URL such as {known[0]}://user:password@host:port")
        return url

    @field_validator("mail_from")
    @classmethod
    def _sender(cls, address: str | None) -> str | None:
        if address is not None and not re.fullmatch(r"[^@\s<>]+@[^@\s<>]+|[^\r\n<>]+ <[^@\s<>]+@[^@\s<>]+>", address):
            raise ValueError("must be an address such as clinic@example.org or Clinic <clinic@example.org>")
        return address

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, origins: list[str]) -> list[str]:
        for origin in origins:
            scheme, _, host = origin.partition("://")
            if scheme not in {"http", "https"} or not host or any(c in host for c in "/*?# "):
                raise ValueError(f"{origin!r} is not an origin such as https://app.example.org")
        return origins


def variable(field: str) -> str:
    """The environment variable that sets `field`."""
    return "DATABASE_URL" if field == "database_url" else PREFIX + field.upper()


def load_settings() -> Settings:
    """The settings of this process's environment.

    Raises SettingsError with a sentence that names each malformed variable.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError("\n".join(_sentence(dict(problem)) for problem in error.errors())) from None
    except Exception as error:  # a value that is not JSON, where JSON is expected
        cause = error.__cause__
        if isinstance(cause, json.JSONDecodeError):
            name = next((variable(f) for f in Settings.model_fields if f'"{f}"' in str(error)), PREFIX)
            raise SettingsError(f"{name} must be JSON: {cause.msg}.") from None
        raise


def _sentence(problem: dict[str, object]) -> str:
    location = problem["loc"]
    name = str(location[0]) if isinstance(location, tuple) and location else ""
    field = name if name in Settings.model_fields else name.removeprefix(PREFIX).lower()
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"{variable(field) if name != 'DATABASE_URL' else name}: {message}."


def unknown_variables() -> list[str]:
    """One warning for each `HEALTH_…` variable that no setting reads, with the nearest known name."""
    known = [variable(field) for field in Settings.model_fields]
    warnings = []
    for name in sorted(os.environ):
        if name.startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            warnings.append(f"{name} is not a setting of this version and has no effect.{hint}")
    return warnings


def logs_as_text(settings: Settings) -> bool:
    """Whether people, not machines, read this process's log."""
    return settings.log_format == "text" or (settings.log_format == "auto" and sys.stderr.isatty())
