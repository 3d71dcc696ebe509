"""Every setting of the service: one class, typed, documented; unsafe values are refused."""

import difflib
import json
import os
import sys
from pathlib import Path
from typing import Literal

import platformdirs
from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from health_services.written_forms import is_address, is_origin, is_sender, network, parts_of_url, private_key, ring_key
from health_services.written_limits import limits_of

PREFIX = "HEALTH_"
MINIMUM_SECRET_BYTES = 32

_IN_PASSWORDS = "signs such as / # ? @ in the password are written as %2F %23 %3F %40"


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
    read_database_url: SecretStr | None = Field(None, description="a replica's URL, for the public directory")
    data_dir: Path = Field(
        default_factory=default_data_dir, description="the embedded server's data and generated secrets"
    )
    postgres_bin: Path | None = Field(None, description="directory of the PostgreSQL programs to embed")
    database_allow_unverified_tls: bool = Field(
        False, description="let DATABASE_URL lead to another host without sslmode=verify-full"
    )
    secret_key: SecretStr | None = Field(None, description="signs tokens; at least 32 bytes")
    previous_secret_keys: list[SecretStr] = Field(
        [], description="JSON list of earlier secret keys: what they signed is accepted, nothing more is signed"
    )
    encryption_keys: dict[str, SecretStr] = Field(
        {},
        description='the key ring of encrypted columns, JSON {"id": "32 bytes as base64url"}; the first one encrypts; '
        "unset: generated once into the data directory",
    )
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
    sms_from: str | None = Field(
        None, validate_default=True, description="sender of SMS: a number or name that the gateway knows"
    )
    vapid_private_key: SecretStr | None = Field(
        None, description="base64url P-256 key of Web Push; unset: generated once into the data directory"
    )
    webhook_allow_private: bool = Field(
        False, description="let webhooks reach private and loopback addresses, and http://"
    )
    default_locale: Literal["en", "de", "es", "fr", "pt", "hi", "ar"] = Field("en", description="language of messages")
    worker_concurrency: int = Field(8, ge=1, le=100, description="messages under way at once, for each channel")
    worker_poll_seconds: float = Field(1, ge=0.05, le=60, description="how often an idle worker looks for messages")
    metrics: Literal["auto", "on", "off"] = Field(
        "auto", description="Prometheus text at /metrics; auto: only where the server listens on loopback"
    )
    access_token_minutes: int = Field(15, ge=1, le=1440, description="life of an access token")
    refresh_token_days: int = Field(30, ge=1, le=365, description="life of a refresh token, from its last use on")
    session_days: int = Field(90, ge=1, le=3650, description="longest session, however often it is refreshed")
    require_mfa_roles: list[Literal["patient", "doctor", "staff", "admin"]] = Field(
        [], description="JSON list of the roles that must enrol a second factor before anything else"
    )
    require_verified_email: bool = Field(False, description="let an unverified account reach nothing personal")
    rate_limits: str = Field("", description='"off", or a JSON object such as {"login": "10/5 minutes"}')
    redis_url: SecretStr | None = Field(
        None, description="redis:// or rediss:// of a Redis or Valkey that counts for all machines"
    )
    trusted_proxies: list[str] = Field(
        [], description="JSON list of the networks whose X-Forwarded-For is believed, such as 10.0.0.0/8"
    )
    security_contact: str | None = Field(
        None, description="mailto: or https: address for /.well-known/security.txt; unset: 404"
    )
    retention_message_days: int = Field(365, ge=1, le=36500, description="what a message said is forgotten after that")
    retention_delivery_days: int = Field(90, ge=1, le=36500, description="bodies sent to webhooks, likewise")
    retention_session_days: int = Field(90, ge=1, le=36500, description="sessions that have ended, likewise")
    password_memory_kib: int = Field(65536, ge=19456, le=1048576, description="Argon2id memory (OWASP floor 19456)")
    password_time_cost: int = Field(3, ge=2, le=20, description="Argon2id passes (OWASP floor 2)")
    password_parallelism: int = Field(1, ge=1, le=8, description="Argon2id lanes")
    keep_seconds: float = Field(0.5, ge=0, le=60, description="how long public answers are kept at most; 0: not at all")
    database_pool_size: int = Field(16, ge=1, le=500, description="connections per server process")
    read_pool_size: int = Field(4, ge=1, le=500, description="connections for the public directory, besides these")
    database_pool_timeout: float = Field(10, gt=0, le=60, description="seconds to wait for a connection before 503")
    statement_timeout_ms: int = Field(10_000, ge=100, le=600_000, description="longest statement of a request")
    lock_timeout_ms: int = Field(5_000, ge=100, le=600_000, description="longest wait for a lock in a request")
    database_pooler: bool = Field(False, description="the database is reached through PgBouncer or the like")
    overload_wait_seconds: float = Field(2, gt=0, le=60, description="longest wait of a request for its turn")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$")
    log_format: str = Field("auto", pattern="^(auto|json|text)$", description="auto: text on a terminal, else JSON")

    @field_validator("secret_key")
    @classmethod
    def _long_enough(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and len(key.get_secret_value().encode()) < MINIMUM_SECRET_BYTES:
            raise ValueError(f"needs at least {MINIMUM_SECRET_BYTES} bytes")
        return key

    @field_validator("previous_secret_keys")
    @classmethod
    def _all_long_enough(cls, keys: list[SecretStr]) -> list[SecretStr]:
        if any(len(key.get_secret_value().encode()) < MINIMUM_SECRET_BYTES for key in keys):
            raise ValueError(f"each needs at least {MINIMUM_SECRET_BYTES} bytes")
        return keys

    @field_validator("encryption_keys")
    @classmethod
    def _key_ring(cls, keys: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, key in keys.items():
            ring_key(name, key.get_secret_value())
        return keys

    @field_validator("rate_limits")
    @classmethod
    def _limits(cls, text: str) -> str:
        limits_of(text)
        return text

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, networks: list[str]) -> list[str]:
        for text in networks:
            network(text)
        return networks

    @field_validator("security_contact")
    @classmethod
    def _contact(cls, contact: str | None) -> str | None:
        is_mail = contact is not None and is_address(contact.removeprefix("mailto:"))
        if contact is not None and not ((contact.startswith("mailto:") and is_mail) or parts_of_url(contact, "https")):
            raise ValueError("must be such as mailto:security@example.org or https://example.org/security")
        return contact

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and parts_of_url(url.get_secret_value(), "redis", "rediss") is None:
            raise ValueError("must be a URL such as redis://:password@host:6379/0")
        return url

    @field_validator("database_url", "migration_database_url", "read_database_url")
    @classmethod
    def _postgresql(cls, url: SecretStr | None) -> SecretStr | None:
        scheme = url.get_secret_value().partition("://")[0] if url is not None else "postgresql"
        if scheme not in {"postgresql", "postgres", "postgresql+asyncpg"}:
            raise ValueError("must be a postgresql:// URL")
        return url

    @field_validator("public_url")
    @classmethod
    def _base(cls, url: str | None) -> str | None:
        if url is not None:
            parts = parts_of_url(url, "https", "http")
            if parts is None or parts.query or parts.fragment or "@" in parts.netloc:
                raise ValueError("must be a URL such as https://health.example.org")
        return url

    @field_validator("smtp_url")
    @classmethod
    def _mail_server(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            parts = parts_of_url(url.get_secret_value(), "smtp", "smtp+starttls", "smtps")
            if parts is None or parts.path not in {"", "/"} or parts.query or parts.fragment:
                raise ValueError(
                    "must be a URL such as smtp://user:password@host:port, smtp+starttls://… or smtps://…, with "
                    f"nothing after the port; {_IN_PASSWORDS}"
                )
        return url

    @field_validator("sms_url")
    @classmethod
    def _sms_gateway(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            parts = parts_of_url(url.get_secret_value(), "https", "http")
            # Without a path it is Twilio's own, which belongs to the account that the user is.
            if parts is None or parts.fragment or not (parts.path.strip("/") or parts.username):
                raise ValueError(
                    "must be a URL such as https://account:token@api.twilio.com, or https://user:password@host/path "
                    f"for another gateway; {_IN_PASSWORDS}"
                )
        return url

    @field_validator("sms_from")
    @classmethod
    def _sms_sender(cls, sender: str | None, info: ValidationInfo) -> str | None:
        if info.data.get("sms_url") is not None and not sender:
            raise ValueError("must be given where HEALTH_SMS_URL is: a number or name that the gateway knows")
        return sender

    @field_validator("mail_from")
    @classmethod
    def _sender(cls, sender: str | None) -> str | None:
        if sender is not None and not is_sender(sender):
            raise ValueError("must be an address in ASCII such as clinic@example.org or Clinic <clinic@example.org>")
        return sender

    @field_validator("vapid_private_key")
    @classmethod
    def _web_push(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None:
            try:
                private_key(key.get_secret_value())
            except ValueError:
                raise ValueError(
                    "must be a P-256 private key: 32 bytes as base64url, 43 characters; if it is unset, one is made"
                ) from None
        return key

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, origins: list[str]) -> list[str]:
        for origin in origins:
            if not is_origin(origin):
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
