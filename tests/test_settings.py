"""Settings: each malformed one is refused in a sentence that names it, an unknown one is told apart."""

import os

import pytest
from pydantic import SecretStr

from health_services.languages.locales import LOCALES
from health_services.settings import Settings, SettingsError, load_settings, unknown_variables, variable

ONE = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE"  # the smallest number that is a key
MALFORMED = {
    "database_url": ["", "mysql://root@localhost/health", "localhost:5432", "sqlite:///health.db"],
    "migration_database_url": ["", "http://localhost/health"],
    "read_database_url": ["", "http://localhost/health"],
    "secret_key": ["", "thirty-one bytes are one too few"[:31]],
    "cors_origins": [
        "https://app.example.org", "[", '{"a": 1}', '"https://a.example"', '["*"]', '["app.example.org"]',
        '["https://app.example.org/"]', '["ftp://app.example.org"]', "[1]",
    ],
    "public_url": [
        "health.example.org", "ftp://health.example.org", "https://", "https://h.example.org/?a=b", "https://h.org:x",
        "https://h.org:0", "https://h.org:65536", "https://h.org/#a", "https://h..org", "https://h.org/a b",
        "https://u:p@h.org", "https://[::1",
    ],
    "smtp_url": [
        "", "mail.example.org", "mail.example.org:25", "http://mail.example.org", "smtp:///mail", "smtp://:25", "smtp+tls://m.org",
        "smtp://m.org:0", "smtp://m.org:65536", "smtp://m.org:x", "smtp://[::1", "SECRET://u:p@m.org",
        "smtp://m.org/inbox", "smtp://m.org?tls=1", "smtp://m.org#a", "smtp://u:12/34@m.org", "smtp://u:pa#ss@m.org",
        "smtp://m..org", "smtp://mail server.org", "smtp://m.org\n", f"smtp://{'m' * 64}.org", "smtp://m!.org",
    ],
    "sms_url": [
        "", "sms.example.org", "smtp://sms.example.org", "https:///sms", "https://u:p@", "https://s.org:0", "ftp://s.org",
        "https://s.org", "https://s.org/", "https://:p@s.org", "https://u:p@s.org/sms#a", "https://u:p@s..org/sms",
    ],
    "mail_from": [
        "", "clinic", "@example.org", "clinic@", "a@b@c.org", "Clinic clinic@example.org", "Clinic <clinic>",
        "Clinic <clinic@example.org", "Clinic <a@b.org> <c@d.org>", "a@b.org\nBcc: c@d.org", "C\r\nX: y <c@d.org>",
        "post@gesünder.example", "Clinic <pöst@example.org>", "Clinic <clinic@example..org>", f"{'a' * 250}@b.org",
    ],
    "vapid_private_key": [
        "", "x", ONE[:-1], ONE + "AA", "A" * 43, "\u00e9" * 43, "A B" * 14,
        "_____wAAAAD__________7zm-q2nF56E87nKwvxjJVE",  # the order of the group: the first number that is no key
    ],
    "webhook_allow_private": ["", "perhaps", "2"],
    "default_locale": ["", "EN", "en-GB", "xx", "english"],
    "worker_concurrency": ["0", "101", "1.5", "many"],
    "worker_poll_seconds": ["0", "0.04", "61", "nan", "inf"],
    "metrics": ["", "yes", "true", "ON"],
    "access_token_minutes": ["0", "1441", "an hour", ""],
    "password_memory_kib": ["19455", "1048577"],
    "password_time_cost": ["1", "21"],
    "password_parallelism": ["0", "9"],
    "database_pool_size": ["0", "501", "1.5"],
    "keep_seconds": ["-1", "61", "nan", "inf"],
    "read_pool_size": ["0", "501", "1.5"],
    "database_pooler": ["", "perhaps", "2"],
    "overload_wait_seconds": ["0", "61", "nan", "inf"],
    "database_pool_timeout": ["0", "61", "nan", "inf"],
    "statement_timeout_ms": ["99", "600001"],
    "lock_timeout_ms": ["99", "600001"],
    "rate_limits": [
        "on", "OFF", "[]", "{", '{"logins": "1/minute"}', '{"login": "10"}', '{"login": "0/minute"}', '{"login": 10}',
        '{"login": "1/second; 5/minute"}',
    ],
    "redis_url": [
        "", "valkey", "localhost:6379", "http://localhost:6379", "redis:///0", "redis://h:0", "redis://:SECRET@h..org",
    ],
    "trusted_proxies": ["10.0.0.0/8", '"10.0.0.0/8"', '["proxy"]', '["10.0.0.1/8"]', '["10.0.0.0/33"]', '[""]'],
    "security_contact": [
        "", "security@example.org", "mailto:", "mailto:security", "http://example.org", "https://", "tel:+15550100",
        "mailto:a@b.org\nExpires: 2099-01-01T00:00:00Z",
    ],
    "database_allow_unverified_tls": ["", "perhaps", "2"],
    "previous_secret_keys": ["thirty-two bytes and no list of them", "{}", '["too short"]', "[1]"],
    "encryption_keys": [
        "A" * 43, "[]", '{"a": "short"}', f'{{"a b": "{"A" * 43}"}}', f'{{"": "{"A" * 43}"}}', f'{{"a": "{"A" * 44}"}}',
        '{"a": 1}', f'{{"{"a" * 33}": "{"A" * 43}"}}',
    ],
    "refresh_token_days": ["0", "366", "1.5"],
    "session_days": ["0", "3651", "a month"],
    "require_mfa_roles": ["doctor", '"doctor"', '["nurse"]', '["Doctor"]', "{}"],
    "require_verified_email": ["", "perhaps", "2"],
    "retention_message_days": ["0", "36501", "1.5"],
    "retention_delivery_days": ["0", "36501", ""],
    "retention_session_days": ["0", "36501", "never"],
    "log_level": ["verbose", "INFO", ""],
    "log_format": ["xml"],
}  # fmt: skip
# Any text will do for these as far as their form goes; what they name is checked where it is used.
TEXTS = {"data_dir", "postgres_bin", "admin_email", "admin_password", "sms_from"}


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch):
    for name in os.environ:
        if name == "DATABASE_URL" or name.upper().startswith("HEALTH_"):
            monkeypatch.delenv(name)


def test_every_setting_is_in_these_tables():
    assert MALFORMED.keys() | TEXTS == set(Settings.model_fields)


@pytest.mark.parametrize(("field", "value"), [(field, value) for field in MALFORMED for value in MALFORMED[field]])
def test_a_malformed_setting_is_refused_by_name(field: str, value: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(variable(field), value)
    with pytest.raises(SettingsError) as refused:
        load_settings()
    sentence = str(refused.value)
    assert sentence.startswith((f"{variable(field)}: ", f"{variable(field)} must be "))
    assert sentence.endswith(".")
    assert "Value error" not in sentence
    assert "\n" not in sentence
    if value and Settings.model_fields[field].annotation == SecretStr | None:
        assert value not in sentence


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("smtp_url", "smtp://localhost"), ("smtp_url", "smtps://user:pass@mail.example.org:465"),
        ("smtp_url", "smtp://[::1]:2525"), ("smtp_url", "smtp://gesünder.example/"),
        ("public_url", "http://[::1]:8000"), ("public_url", "https://gesünder.example/booking/"),
        ("mail_from", "clinic@example.org"), ("mail_from", "Clinic für alle <clinic@example.org>"),
        ("keep_seconds", "0.5"), ("worker_poll_seconds", "0.05"),
        ("worker_concurrency", "100"), ("metrics", "off"), ("default_locale", "ar"),
        ("rate_limits", "off"), ("rate_limits", '{"login": "10 per 5 minutes", "caller": "6000/hour"}'),
        ("redis_url", "rediss://:secret@redis.example.org:6380/1"), ("security_contact", "mailto:security@example.org"),
        ("webhook_allow_private", "true"), ("vapid_private_key", ONE), ("vapid_private_key", f" {ONE}=\n"),
    ],
)  # fmt: skip
def test_what_is_well_formed_is_taken(field: str, value: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(variable(field), value)
    taken = getattr(load_settings(), field)
    shown = taken.get_secret_value() if isinstance(taken, SecretStr) else str(taken)
    assert shown.lower() == value.lower()


@pytest.mark.parametrize("sender", [None, ""])
def test_sms_need_a_sender(sender: str | None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HEALTH_SMS_URL", "https://AC1:token@api.twilio.com")
    if sender is not None:
        monkeypatch.setenv("HEALTH_SMS_FROM", sender)
    with pytest.raises(SettingsError, match=r"^HEALTH_SMS_FROM: must be given where HEALTH_SMS_URL is") as refused:
        load_settings()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080/messages", "https://u@s.org", "https://u:p@s.org/sms?region=eu"]
)
def test_a_gateway_of_sms(url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HEALTH_SMS_URL", url)
    monkeypatch.setenv("HEALTH_SMS_FROM", "Clinic")
    assert load_settings().sms_url == SecretStr(url)


def test_an_unknown_language_is_told_the_known_ones(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HEALTH_DEFAULT_LOCALE", "en-GB")
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert all(f"'{locale}'" in str(refused.value) for locale in LOCALES)


def test_each_of_several_malformed_settings_has_its_sentence(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HEALTH_LOG_LEVEL", "loud")
    monkeypatch.setenv("HEALTH_DATABASE_POOL_SIZE", "many")
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert {line.partition(":")[0] for line in str(refused.value).splitlines()} == {
        "HEALTH_LOG_LEVEL",
        "HEALTH_DATABASE_POOL_SIZE",
    }


def test_what_is_given_is_read(monkeypatch: pytest.MonkeyPatch):
    given = {
        "DATABASE_URL": "postgres://health@db.example.org/health",
        "HEALTH_SECRET_KEY": "k" * 32,
        "HEALTH_CORS_ORIGINS": '["https://app.example.org", "http://localhost:3000"]',
        "HEALTH_PUBLIC_URL": "https://health.example.org/booking",
        "HEALTH_DATABASE_POOL_SIZE": "500",
        "HEALTH_SMTP_URL": "smtp+starttls://clinic:p%40ss@mail.example.org:587",
        "HEALTH_SMS_URL": "https://AC1:secret@sms.example.org/2010-04-01",
        "HEALTH_SMS_FROM": "+15550100",
        "HEALTH_MAIL_FROM": "Clinic <clinic@example.org>",
        "HEALTH_METRICS": "on",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.database_url == SecretStr(given["DATABASE_URL"])
    assert settings.cors_origins == ["https://app.example.org", "http://localhost:3000"]
    assert (settings.public_url, settings.database_pool_size) == (given["HEALTH_PUBLIC_URL"], 500)
    assert "k" * 32 not in repr(settings)
    assert (settings.mail_from, settings.metrics) == (given["HEALTH_MAIL_FROM"], "on")
    assert settings.smtp_url == SecretStr(given["HEALTH_SMTP_URL"])
    assert settings.sms_url == SecretStr(given["HEALTH_SMS_URL"])
    for name in ("DATABASE_URL", "HEALTH_SMTP_URL", "HEALTH_SMS_URL"):
        assert given[name] not in repr(settings)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("HEALTH_SECRET_KEYS", "HEALTH_SECRET_KEY"),
        ("HEALTH_CORS_ORIGIN", "HEALTH_CORS_ORIGINS"),
        ("HEALTH_DATADIR", "HEALTH_DATA_DIR"),
    ],
)
def test_an_unknown_variable_is_a_warning_with_the_nearest_name(name: str, meant: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(name, "x")
    (warning,) = unknown_variables()
    assert warning.startswith(f"{name} is not a setting")
    assert warning.endswith(f"Did you mean {meant}?")


def test_variables_of_others_and_known_ones_are_no_warning(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HEALTHCHECK_URL", "x")
    for field in Settings.model_fields:
        monkeypatch.setenv(variable(field), "x")
    assert unknown_variables() == []
    monkeypatch.setenv("HEALTH_QQQQQQQQ", "x")
    assert unknown_variables() == ["HEALTH_QQQQQQQQ is not a setting of this version and has no effect."]


def test_every_setting_says_what_it_is_for():
    untold = {name for name, field in Settings.model_fields.items() if not field.description}
    assert untold <= {"admin_password", "log_level"}
