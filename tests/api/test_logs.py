"""The log: a line of JSON for each request, with its id, and nothing of a person."""

import io
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import structlog

from health_services.api import middleware
from health_services.clinics.repository import ClinicRepository
from tests.auth.test_endpoints import GUIDE
from tests.factories import World, booking

Lines = Callable[[], list[dict[str, Any]]]
OWN_ID = re.compile(r"[0-9a-f]{32}")


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What is logged, configured as in production, from here on."""
    before, written = structlog.get_config(), io.StringIO()
    monkeypatch.setattr("sys.stderr", written)
    middleware.configure_logging("info", as_text=False)
    monkeypatch.setattr(middleware, "log", structlog.get_logger("health_services.http"))
    yield written
    structlog.configure(**before)


@pytest.fixture
def lines(log: io.StringIO) -> Lines:
    """The lines so far, each of them JSON."""
    return lambda: [json.loads(line) for line in log.getvalue().splitlines()]


async def test_one_line_for_each_request(api: httpx.AsyncClient, world: World, lines: Lines):
    answer = await api.get("/clinics/999?x=1")
    assert answer.status_code == 400
    (line,) = lines()
    assert set(line) >= {"event", "level", "timestamp", "request_id", "method", "path", "query", "status", "ms"}
    assert (line["method"], line["path"], line["status"]) == ("GET", "/api/v1/clinics/999", 400)
    assert line["request_id"] == answer.headers["x-request-id"]
    assert OWN_ID.fullmatch(line["request_id"])


async def test_a_callers_request_id_is_kept(api: httpx.AsyncClient, lines: Lines):
    for given in ("abcdefgh", "0af7651916cd43dd8448eb211c80319c", "a.b-c_d-1234", "x" * 64):
        answer = await api.get("/clinics", headers={"X-Request-ID": given})
        assert answer.headers.get_list("x-request-id") == [given]
        assert lines()[-1]["request_id"] == given


@pytest.mark.parametrize("given", [
    "", "short", "x" * 65, "x" * 5000, "with space", 'quote"quote', "<script>alert(1)</script>", "new\\nline",
    "jane@example.org", "semi;colon;", "\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9", "tab\ttab\ttab",
    "{jndi:ldap}",
])  # fmt: skip
async def test_a_hostile_request_id_is_replaced(api: httpx.AsyncClient, lines: Lines, given: str):
    answer = await api.get("/nothing", headers={b"X-Request-ID": given.encode()})
    assert OWN_ID.fullmatch(answer.headers["x-request-id"])
    assert lines()[-1]["request_id"] == answer.headers["x-request-id"]


async def test_two_requests_have_two_ids(api: httpx.AsyncClient):
    assert len({(await api.get("/clinics")).headers["x-request-id"] for _ in range(5)}) == 5


async def test_nothing_of_a_person_is_in_it(api: httpx.AsyncClient, world: World, log: io.StringIO, lines: Lines):
    doctor, admin = await world.doctor(), await world.admin()
    signed_in = await api.post("/auth/register", json=GUIDE)
    token, user = signed_in.json()["access_token"], signed_in.json()["user"]
    headers = {"Authorization": f"Bearer {token}"}
    patient = f"/patients/{user['patient_id']}"
    slot = await world.slot(doctor)
    body = {"patient_id": user["patient_id"], "doctor_id": doctor.doctor_id, "clinic_id": doctor.clinic_id}
    await api.post("/auth/register", json=GUIDE)
    await api.post("/auth/login", json={"email": GUIDE["email"], "password": GUIDE["password"]})
    await api.post("/auth/login", json={"email": GUIDE["email"], "password": "TotallyWrong1"})
    await api.get(f"/auth/profile?token={token}")
    await api.get(f"/auth/profile?Token={token}&x={token}&email={GUIDE['email']}")
    await api.get(f"/clinics?token={token}&{GUIDE['email']}=1&{token}")
    await api.get(f"http://test/healthz?token={token}")
    await api.get(f"/nothing/{GUIDE['email']}?token={token}")
    await api.get(f"/patients/{GUIDE['email']}", headers=headers)
    await api.patch(f"/patients/{GUIDE['email']}", headers=headers)
    await api.put(patient, json={"allergies": "Penicillin", "blood_group": "O+"}, headers=headers)
    await api.put(patient, json={"allergies": "Penicillin\x00"}, headers=headers)
    await api.post("/patients/search", json={"query": "John Doe"}, headers=admin.headers)
    await api.post(
        "/appointments/book", json=body | {"slot_id": slot, "reason_for_visit": "Palpitations"}, headers=headers
    )
    await api.post(
        "/appointments/book", json=body | {"slot_id": slot, "reason_for_visit": "Palpitations"}, headers=headers
    )
    text = log.getvalue()
    assert len(lines()) == 16
    for secret in (
        token, token.split(".")[1], token.split(".")[2], "john@example", "John", "Doe", GUIDE["password"],
        "TotallyWrong1", GUIDE["mobile_no"], "123 Main St", "Penicillin", "O+", "Palpitations", "Bearer",
    ):  # fmt: skip
        assert secret not in text, secret
    assert text.count("token=[redacted]") == 4
    assert lines()[4]["query"] == "token=[redacted]"


async def test_of_a_crash_only_the_place_is_told(
    api: httpx.AsyncClient, world: World, log: io.StringIO, lines: Lines, monkeypatch: pytest.MonkeyPatch
):
    async def fail(*_: object) -> None:
        try:
            int("Jane Roe 5550100")
        except ValueError as error:
            raise RuntimeError("INSERT INTO users VALUES ('Jane Roe')") from error

    monkeypatch.setattr(ClinicRepository, "active", fail)
    answer = await api.get("/clinics", headers={"X-Request-ID": "crash-1234"})
    assert answer.headers["x-request-id"] == "crash-1234"
    crash, request = lines()
    assert (crash["event"], crash["level"], request["status"]) == ("crash", "error", 500)
    assert crash["request_id"] == request["request_id"] == "crash-1234"
    assert crash["error"] == ["builtins.RuntimeError", "builtins.ValueError"]
    assert any("test_logs.py" in frame for frame in crash["frames"])
    for secret in ("Jane", "5550100", "INSERT"):
        assert secret not in log.getvalue()


async def test_a_refusal_of_the_database_is_no_crash(api: httpx.AsyncClient, world: World, lines: Lines):
    doctor, patient = await world.doctor(), await world.patient()
    body = booking(patient, doctor, await world.slot(doctor, capacity=2))
    await api.post("/appointments/book", json=body, headers=patient.headers)
    await api.post("/appointments/book", json=body, headers=patient.headers)
    assert [(line["event"], line["level"], line["status"]) for line in lines()] == [
        ("request", "info", 201),
        ("request", "info", 409),
    ]


def test_what_json_cannot_hold_is_logged_all_the_same(lines: Lines):
    structlog.get_logger("any").info("odd", half="\ud800", large=2**70, thing=re.compile("x"))
    assert [(line["event"], line["half"], line["large"]) for line in lines()] == [("odd", "\ud800", 2**70)]


async def test_the_line_of_a_request_is_the_one_that_structlog_makes(
    api: httpx.AsyncClient, lines: Lines, monkeypatch: pytest.MonkeyPatch
):
    await api.get("/clinics?limit=3")
    monkeypatch.setattr(middleware, "_DIRECTLY", [])
    await api.get("/clinics?limit=3")
    direct, usual = lines()
    assert list(direct) == list(usual)
    assert [len(direct[name]) for name in ("timestamp", "request_id")] == [len("2026-11-23T08:21:48.034253Z"), 32]
    changing = {"timestamp", "request_id", "ms"}
    assert {k: v for k, v in direct.items() if k not in changing} == {
        k: v for k, v in usual.items() if k not in changing
    }


@pytest.mark.parametrize("query", [
    "", "limit=3", "doctor_id=7&date_from=2026-11-25T08:00:00Z&date_to=2026-12-01", "limit=3&" * 25 + "limit=3",
    "limit=", "limit=3&", "limit=3&token=x", "limit=3%30", "date_from=2026-11-25T08:00:00+01:00", "Limit=3",
    "limit=3\n", "limit=\u0663", "xlimit=3", "skip=" + "1" * 41,
])  # fmt: skip
def test_a_plain_query_is_logged_as_any_other(query: str, monkeypatch: pytest.MonkeyPatch):
    logged = middleware._safe_query(query.encode())
    monkeypatch.setattr(middleware, "_PLAIN_QUERY", re.compile(rb"(?!)"))
    assert logged == middleware._safe_query(query.encode())


async def test_nothing_is_logged_of_requests_where_only_warnings_are(api: httpx.AsyncClient, log: io.StringIO):
    middleware.configure_logging("warning", as_text=False)
    await api.get("/clinics")
    assert log.getvalue() == ""
