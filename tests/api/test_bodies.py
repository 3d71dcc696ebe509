"""Bodies that are no JSON, or more than it: each is refused, and nothing changed."""

import json
from collections.abc import AsyncIterator

import asyncpg
import httpx
import pytest

from tests.api.answers import digest, refusal
from tests.factories import World

JSON = {"Content-Type": "application/json"}
MIB = 1 << 20
BROKEN = {
    "cut off": b'{"name": "x"',
    "trailing comma": b'{"name": "x",}',
    "single quotes": b"{'name': 'x'}",
    "comment": b'{"name": "x"} // y',
    "two values": b'{"name": "x"} {"name": "y"}',
    "no value": b"   ",
    "NUL byte": b'{"name": "x"}\x00',
    "raw NUL in a text": b'{"name": "x\x00y"}',
    "raw control in a text": b'{"name": "x\x01y"}',
    "bad escape": b'{"name": "\\x41"}',
    "duplicate key": b'{"name": "x", "name": "y"}',
    "duplicate key in another case": b'{"name": "x", "Name": "y"}',
    "duplicate key in an escape": b'{"name": "x", "n\\u0061me": "y"}',
    "duplicate key inside": b'{"name": "x", "address": {"a": 1, "A": 2}}',
    "NaN": b'{"name": NaN}',
    "Infinity": b'{"name": Infinity}',
    "-Infinity": b'{"name": "x", "address": -Infinity}',
    "10,000 levels of lists": b'{"name": ' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "10,000 levels of objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "100,000 levels": b"[" * 100_000 + b"]" * 100_000,
    "a number of 10,000 digits": b'{"name": ' + b"9" * 10_000 + b"}",
    "a fraction of 10,000 digits": b'{"name": 0.' + b"9" * 10_000 + b"}",
    "an exponent out of range": b'{"name": 1e400}',
    "invalid UTF-8": b'{"name": "\xff\xfe"}',
    "overlong UTF-8": b'{"name": "\xc0\xaf"}',
    "half a UTF-8 sequence": b'{"name": "\xe2\x82"}',
    "an encoded surrogate": b'{"name": "\xed\xa0\x80"}',
    "a lone surrogate": b'{"name": "\\ud800"}',
    "a reversed pair": b'{"name": "\\ude00\\ud83d"}',
    "a lone surrogate in a key": b'{"name": "x", "\\ud800": 1}',
    "a NUL in a key": b'{"name": "x", "\\u0000": 1}',
    "an escaped NUL": b'{"name": "x\\u0000y"}',
    "form": b"name=x",
    "half of a BOM": b"\xef\xbb" + b'{"name": "x"}',
    "only a BOM": b"\xef\xbb\xbf",
}


@pytest.mark.parametrize("kind", BROKEN)
async def test_broken_json(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection, kind: str):
    admin = await world.admin()
    before = await digest(owner)
    for method, path in (("POST", "/clinics"), ("POST", "/slots"), ("PUT", "/clinics/1")):
        answer = await api.request(method, path, content=BROKEN[kind], headers=admin.headers | JSON)
        fields = {error["field"] for error in answer.json().get("errors", [])}
        refusal(answer, "VALIDATION_ERROR", *fields)
        assert fields
        assert len(answer.content) < 3000
    assert await digest(owner) == before


@pytest.mark.parametrize("levels", [50, 400, 900, 950, 990, 1000, 1100, 3000])
async def test_any_depth_is_answered(api: httpx.AsyncClient, world: World, levels: int):
    admin = await world.admin()
    for body in (b"[" * levels + b"]" * levels, b'{"x":' * levels + b"1" + b"}" * levels):
        answer = await api.post(
            "/clinics", content=b'{"name": "x", "deep": ' + body + b"}", headers=admin.headers | JSON
        )
        assert refusal(answer, "VALIDATION_ERROR", *{e["field"] for e in answer.json()["errors"]})


async def test_a_pair_of_surrogates_is_one_character(api: httpx.AsyncClient, world: World):
    admin = await world.admin()
    answer = await api.post("/clinics", content=b'{"name": "\\ud83d\\ude00"}', headers=admin.headers | JSON)
    assert answer.json()["name"] == "\U0001f600"


async def test_a_byte_order_mark_may_stand_before_it(api: httpx.AsyncClient, world: World):
    admin = await world.admin()
    answer = await api.post("/clinics", content=b"\xef\xbb\xbf" + b'{"name": "x"}', headers=admin.headers | JSON)
    assert answer.status_code in {201, 400}
    if answer.status_code == 400:
        refusal(answer, "VALIDATION_ERROR", "body")


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_an_empty_body_is_a_missing_one(api: httpx.AsyncClient, world: World, method: str):
    admin, clinic = await world.admin(), await world.clinic()
    path = "/clinics" if method == "POST" else f"/clinics/{clinic}"
    for headers in ({}, JSON, {"Content-Type": "text/plain"}):
        answer = await api.request(method, path, content=b"", headers=admin.headers | headers)
        refusal(answer, "VALIDATION_ERROR", "body")


@pytest.mark.parametrize("kind", [
    None, "", "text/plain", "text/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
    "application/octet-stream", "application/xml", "json", "application/jsonp", "application/", "*/*", "x" * 300,
])  # fmt: skip
async def test_other_types_are_415(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection, kind: str | None):
    admin, clinic = await world.admin(), await world.clinic()
    headers = admin.headers | ({} if kind is None else {"Content-Type": kind})
    before = await digest(owner)
    for method, path in (("POST", "/clinics"), ("PUT", f"/clinics/{clinic}"), ("DELETE", "/slots/1")):
        answer = await api.request(method, path, content=b'{"name": "x"}', headers=headers)
        refusal(answer, "UNSUPPORTED_MEDIA_TYPE")
    refusal(
        await api.post("/auth/register", content=b"name=x", headers=headers | {"Authorization": ""}),
        "AUTHENTICATION_ERROR",
    )
    assert await digest(owner) == before


@pytest.mark.parametrize("kind", [
    "application/json", "Application/JSON", "application/json; charset=utf-8", 'application/json;charset="UTF-8"',
    "application/merge-patch+json",
])  # fmt: skip
async def test_json_by_any_name(api: httpx.AsyncClient, world: World, kind: str):
    admin = await world.admin()
    answer = await api.post("/clinics", content=b'{"name": "x"}', headers=admin.headers | {"Content-Type": kind})
    assert answer.status_code == 201, answer.text


def body_of(size: int) -> bytes:
    """A registration of exactly so many bytes."""
    start, end = b'{"name": "', b'"}'
    return start + b"x" * (size - len(start) - len(end)) + end


async def in_pieces(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 65_536):
        yield body[start : start + 65_536]


async def test_more_than_a_mebibyte_is_413(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    admin = await world.admin()
    before = await digest(owner)
    for size, code in ((MIB, "VALIDATION_ERROR"), (MIB + 1, "PAYLOAD_TOO_LARGE"), (5 * MIB, "PAYLOAD_TOO_LARGE")):
        fields = ["name"] if size <= MIB else []
        whole = await api.post("/clinics", content=body_of(size), headers=admin.headers | JSON)
        refusal(whole, code, *fields)
        chunked = await api.post("/clinics", content=in_pieces(body_of(size)), headers=admin.headers | JSON)
        assert "content-length" not in chunked.request.headers
        refusal(chunked, code, *fields)
    huge = json.dumps({"email": "a@example.org", "password": "p" * MIB}).encode()
    refusal(await api.post("/auth/login", content=huge, headers=JSON), "PAYLOAD_TOO_LARGE")
    refusal(await api.post("/clinics", content=body_of(MIB + 1), headers=JSON), "AUTHENTICATION_ERROR")
    assert await digest(owner) == before


async def test_a_body_whose_length_lies_is_413(api: httpx.AsyncClient, world: World):
    admin = await world.admin()
    headers = admin.headers | JSON | {"Content-Length": str(10 * MIB)}
    refusal(await api.post("/clinics", content=b'{"name": "x"}', headers=headers), "PAYLOAD_TOO_LARGE")


async def test_ten_thousand_unknown_fields_get_a_short_answer(api: httpx.AsyncClient, world: World):
    admin = await world.admin()
    answer = await api.post("/clinics", json={f"x{n}": n for n in range(10_000)} | {"name": "x"}, headers=admin.headers)
    assert answer.status_code == 400
    assert len(answer.content) < 100_000
    answer = await api.post("/clinics", json={"name": "x", "k" * 500_000: 1}, headers=admin.headers)
    assert answer.status_code == 400
    assert len(answer.content) < 100_000


@pytest.mark.parametrize("path", ["/auth/login", "/auth/register"])
async def test_half_a_character_in_a_password_is_refused(api: httpx.AsyncClient, path: str):
    body = b'{"name": "x", "email": "q@example.org", "password": "aa\\ud800bcdefgh"}'
    refusal(await api.post(path, content=body, headers=JSON), "VALIDATION_ERROR", "body")


async def test_an_object_with_more_members_than_any_request_has_is_refused_at_once(api: httpx.AsyncClient):
    answer = await api.post("/auth/login", json={f"k{n}": n for n in range(25)})
    refusal(answer, "VALIDATION_ERROR", "body")
