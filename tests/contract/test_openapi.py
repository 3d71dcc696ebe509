"""The OpenAPI document: valid, stable, complete, and true where it shows an example."""

import compileall
import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from fastapi import FastAPI

from health_services.auth.passwords import common_passwords
from tests.contract.conftest import Documented

CLIENT_GENERATOR = Path(sys.prefix) / "client" / "bin" / "openapi-python-client"

# Generated clients are named after these: a changed one breaks its callers.
OPERATIONS = {
    "Authentication": [
        *("register", "login", "profile", "reauthenticate", "change_password", "forget_password", "reset_password"),
        *("resend_verification", "verify_email", "refresh", "logout", "logout_all", "list_sessions", "end_session"),
        *("login_mfa", "begin_passkey_login", "login_by_passkey", "begin_totp", "remove_totp", "confirm_totp"),
        *("replace_recovery_codes", "begin_passkey", "list_passkeys", "create_passkey", "remove_passkey"),
        *("accept_invitation", "verify_email_page", "reset_password_page", "accept_invitation_page"),
        "account_pages_script",
    ],
    "Patients": [
        "create_patient",
        "search_patients",
        "get_patient",
        "update_patient",
        "export_patient",
        "erase_patient",
        "list_accesses",
        "request_emergency_access",
        "list_patient_appointments",
        "invite_patient",
    ],
    "Doctors": ["create_doctor", "list_doctors", "get_doctor", "update_doctor", "list_doctor_appointments"],
    "Clinics": [
        "create_clinic",
        "list_clinics",
        "get_clinic",
        "update_clinic",
        "list_clinic_staff",
        "add_clinic_staff",
        "remove_clinic_staff",
        "list_clinic_doctors",
    ],
    "Appointment slots": ["create_slots", "list_slots", "get_slot", "delete_slot"],
    "Appointments": [
        "book_appointment",
        "cancel_appointment",
        "get_appointment",
        "update_appointment",
        "list_appointment_notifications",
        "get_appointment_calendar",
        "list_appointments",
    ],
    "Notifications": [
        "list_notifications",
        "list_unreachable",
        "retry_notification",
        "get_preferences",
        "update_preferences",
        "ask_to_unsubscribe",
        "unsubscribe",
        "get_push_key",
        "create_push_subscription",
        "list_push_subscriptions",
        "delete_push_subscription",
    ],
    "Calendar": ["get_calendar_feed", "create_calendar_feed", "delete_calendar_feed", "read_calendar"],
    "Users": [
        "get_own_user",
        "update_own_user",
        "list_users",
        "get_user",
        "update_user",
        "end_user_sessions",
        "remove_second_factors",
        "invite_user",
        "invite_user_again",
    ],
    "API keys": ["create_api_key", "list_api_keys", "get_api_key", "revoke_api_key"],
    "Webhooks": [
        "create_webhook",
        "list_webhooks",
        "get_webhook",
        "update_webhook",
        "delete_webhook",
        "rotate_webhook_secret",
        "list_webhook_deliveries",
        "redeliver_webhook_delivery",
    ],
    "Audit": ["list_audit"],
    "Health": ["healthz", "readyz", "metrics", "security_txt"],
}
# Who may send the example; administrators may send all others.
SENDERS = {
    "register": "anonymous",
    "login": "anonymous",
    "update_appointment": "doctor",
    "request_emergency_access": "doctor",
}


@pytest.fixture(scope="module")
def document(app: FastAPI) -> dict[str, Any]:
    """As a caller reads it."""
    parsed: dict[str, Any] = json.loads(json.dumps(app.openapi()))
    return parsed


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def test_the_document_is_valid(document: dict[str, Any]):
    schemathesis.openapi.from_dict(document).validate()
    assert document["openapi"].startswith("3.1")


def test_tags_and_operations_are_the_guides_and_stable(document: dict[str, Any]):
    assert [tag["name"] for tag in document["tags"]] == list(OPERATIONS)
    found: dict[str, list[str]] = {}
    for _, _, operation in operations(document):
        (tag,) = operation["tags"]
        found.setdefault(tag, []).append(operation["operationId"])
    assert found == OPERATIONS
    ids = [name for names in found.values() for name in names]
    assert len(ids) == len(set(ids))


def test_every_operation_is_described(document: dict[str, Any]):
    for path, method, operation in operations(document):
        assert operation["summary"], (method, path)
        assert operation["description"], (method, path)


def test_every_list_says_where_the_next_page_is(document: dict[str, Any]):
    lists = {
        operation["operationId"]: operation["responses"]["200"].get("headers", {})
        for _, _, operation in operations(document)
        if any(parameter["name"] == "cursor" for parameter in operation.get("parameters", []))
    }
    assert "list_slots" in lists
    assert all("Link" in headers for headers in lists.values()), lists


def test_every_operation_declares_its_errors_by_code(document: dict[str, Any]):
    for path, method, operation in operations(document):
        if path == "/healthz":
            continue
        declared: dict[str, set[str]] = {}
        for status, response in operation["responses"].items():
            if status >= "4":
                examples = response["content"]["application/problem+json"]["examples"]
                declared[status] = set(examples)
                assert {str(e["value"]["status"]) for e in examples.values()} == {status}
                assert {e["value"]["error_code"] for e in examples.values()} == set(examples), (method, path)
        assert {"400", "500", "503"} <= declared.keys(), (method, path)
        security = operation.get("security", [])
        if {"accessToken": []} in security and {} not in security:
            assert declared["401"] == {"AUTHENTICATION_ERROR"}
            assert declared["403"] - {"REAUTHENTICATION_REQUIRED"} == {"AUTHORIZATION_ERROR"}
        if "{" in path:
            assert declared["404"] == {"RESOURCE_NOT_FOUND"}, (method, path)
        if "requestBody" in operation:
            assert {"413", "415"} <= declared.keys(), (method, path)
        if "Idempotency-Key" in {parameter["name"] for parameter in operation.get("parameters", [])}:
            assert declared["422"] == {"IDEMPOTENCY_KEY_REUSED"}
            assert "REQUEST_IN_PROGRESS" in declared["409"]


def body_examples(document: dict[str, Any], operation: dict[str, Any]) -> list[Any]:
    """The examples beside the body, else those of its schema."""
    media = operation["requestBody"]["content"]["application/json"]
    if "examples" in media:
        return [example["value"] for example in media["examples"].values()]
    schema = media["schema"]
    references = [part["$ref"] for part in [schema, *schema.get("anyOf", [])] if "$ref" in part]
    return [
        example
        for reference in references
        for example in document["components"]["schemas"][reference.rpartition("/")[2]]["examples"]
    ]


# What a person's device makes anew each time, so that no example can be sent as it stands.
OF_A_DEVICE = ["login_mfa", "login_by_passkey", "confirm_totp", "create_passkey"]
WITH_BODY = [
    "register", "login", "reauthenticate", "change_password", "forget_password", "reset_password", "verify_email",
    "refresh", "logout", "create_patient", "search_patients", "update_patient", "create_doctor", "update_doctor",
    "create_clinic", "update_clinic", "add_clinic_staff", "create_slots", "book_appointment", "cancel_appointment",
    "update_appointment", "update_preferences", "create_push_subscription", "create_webhook", "update_webhook",
    "update_own_user", "update_user", "invite_user", "accept_invitation", "create_api_key",
    "erase_patient", "request_emergency_access", *OF_A_DEVICE,
]  # fmt: skip


def test_every_body_has_an_example(document: dict[str, Any]):
    with_body = {o["operationId"]: body_examples(document, o) for _, _, o in operations(document) if "requestBody" in o}
    assert with_body.keys() == set(WITH_BODY)
    assert all(with_body.values())


@pytest.mark.parametrize("name", [name for name in WITH_BODY if name not in OF_A_DEVICE])
async def test_examples_work_when_pasted(
    name: str, document: dict[str, Any], api: httpx.AsyncClient, documented: Documented
):
    path, method, operation = next(o for o in operations(document) if o[2]["operationId"] == name)
    headers = documented.headers[SENDERS.get(name, "admin")]
    if name in {"login", "reauthenticate", "change_password"}:
        register = document["components"]["schemas"]["UserRegister"]["examples"][0]
        registered = await api.post("/auth/register", json=register)
        headers = {"Authorization": f"Bearer {registered.json()['access_token']}"}
    for example in body_examples(document, operation):
        url = path.replace("/api/v1", "")
        for parameter in operation.get("parameters", []):
            if parameter["in"] == "path":
                url = url.replace("{" + parameter["name"] + "}", str(parameter["schema"]["examples"][0]))
        answer = await api.request(method, url, json=example, headers=headers)
        assert answer.is_success, answer.text
        if name == "create_slots" and isinstance(example, dict):  # the other example begins with the same slot
            await api.delete(f"/slots/{answer.json()['id']}", headers=headers)


def test_the_guides_password_is_not_among_the_common_ones():
    assert "securepass123" not in common_passwords()


@pytest.mark.skipif(not CLIENT_GENERATOR.exists(), reason="make test installs the generator")
async def test_a_generated_client_compiles_and_works(
    document: dict[str, Any], tmp_path: Path, app: FastAPI, documented: Documented, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    made = subprocess.run(
        [CLIENT_GENERATOR, "generate", "--path", "openapi.json", "--meta", "none", "--output-path", "generated_client",
         "--fail-on-warning"],
        cwd=tmp_path, env={"PATH": str(CLIENT_GENERATOR.parent)}, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr
    assert compileall.compile_dir(tmp_path / "generated_client", quiet=1)
    for tag, names in OPERATIONS.items():
        for name in names:
            assert (tmp_path / "generated_client" / "api" / tag.lower().replace(" ", "_") / f"{name}.py").exists()

    # what the generated code imports stands beside the generator
    (libraries,) = CLIENT_GENERATOR.parents[1].glob("lib/python*/site-packages")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path, str(libraries)])
    client = importlib.import_module("generated_client").Client(
        base_url="http://test", httpx_args={"transport": httpx.ASGITransport(app)}
    )
    call = importlib.import_module("generated_client.api.appointment_slots.get_slot")
    models = importlib.import_module("generated_client.models")
    answer = await call.asyncio(client=client, slot_id=1)
    assert isinstance(answer, models.SlotRead)
    assert (answer.id, answer.capacity, answer.available_slots) == (1, 3, 3)
    missing = await call.asyncio(client=client, slot_id=99)
    assert isinstance(missing, models.Problem)
    assert missing.error_code == "RESOURCE_NOT_FOUND"
