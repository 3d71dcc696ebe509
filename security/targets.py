"""The requests that sqlmap alters: every parameter of the document, with a mark at each place to write into."""

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from service import Caller, Service

MARK = "*"
# Would end the attacker's own session, or his account.
LEFT_OUT = {"logout_all"}
# Ids of rows of the region; what is deleted or erased on the way is nobody's who attacks.
IDS = {"patient_id": 5, "session_id": 987_654, "token": "not-a-token"}
TEXTS = {"city": "x", "specialty": "x", "query": "Maya", "action": "login"}


@dataclass(frozen=True)
class Request:
    """A raw HTTP request with marks in `places` places."""

    name: str
    raw: str
    places: int


def requests(service: Service, caller: Caller) -> list[Request]:
    """Those that the caller's role may make at all: what is refused before reaches no statement.

    Where people sign in nobody asks for a role, so an administrator leaves that to the patient.
    """
    document, found = service.document(), []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if caller.role == "admin" and path.startswith("/api/v1/auth/"):
                continue
            request = _request(service.url, caller, document, f"{method.upper()} {path}", operation)
            if (
                request.places
                and operation["operationId"] not in LEFT_OUT
                and not _is_refused(service, request, caller)
            ):
                found.append(request)
    return found


def _request(url: str, caller: Caller, document: dict[str, Any], name: str, operation: dict[str, Any]) -> Request:
    method, path = name.split(" ")
    ids = (
        IDS
        | {"user_id": caller.user["id"] + 1}
        | ({"patient_id": caller.user["patient_id"]} if caller.role == "patient" else {})
    )
    query = []
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", f"{ids.get(parameter['name'], 1)}{MARK}")
        elif parameter["in"] == "query":
            query.append(f"{parameter['name']}={_value(parameter)}{MARK}")
    body = json.dumps(_marked(_example(document, operation))) if "requestBody" in operation else ""
    body = body.replace(f'{MARK}#"', MARK).replace(f'"#{MARK}', "")  # marks stand behind bare numbers
    places = path.count(MARK) + len(query) + body.count(MARK)
    lines = [
        f"{method} {path}{'?' + '&'.join(query) if query else ''} HTTP/1.1",
        f"Host: {urlsplit(url).netloc}",
        f"Authorization: Bearer {caller.token}",
        *(["Content-Type: application/json"] if body else []),
    ]
    return Request(f"{name} as {caller.role}", "\r\n".join([*lines, "", body]), places)


def _value(parameter: dict[str, Any]) -> str:
    schema = next((s for s in parameter["schema"].get("anyOf", []) if s.get("type") != "null"), parameter["schema"])
    if schema.get("enum"):
        return str(schema["enum"][0])
    usual = {"integer": "1", "boolean": "true"}.get(schema.get("type", ""))
    return usual or ("2030-01-01T00:00:00Z" if "date" in parameter["name"] else TEXTS.get(parameter["name"], "x"))


def _example(document: dict[str, Any], operation: dict[str, Any]) -> Any:
    schema = operation["requestBody"]["content"].get("application/json", {}).get("schema", {})
    for choice in (schema, *schema.get("anyOf", []), *schema.get("oneOf", [])):
        name = choice.get("$ref", "").rpartition("/")[2]
        if name:
            return document["components"]["schemas"][name]["examples"][0]
    return {}


def _marked(value: Any) -> Any:
    """The same with a mark in each text and behind each number."""
    if isinstance(value, dict):
        return {name: _marked(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_marked(member) for member in value]
    if isinstance(value, str):
        return value.replace(MARK, "") + MARK
    if isinstance(value, int) and not isinstance(value, bool):
        return f"#{MARK}{value}{MARK}#"
    return value


def _is_refused(service: Service, request: Request, caller: Caller) -> bool:
    """Whether the caller's role does not come through this door, which is said before anything else is looked at."""
    method, target, _ = request.raw.split("\r\n")[0].split(" ")
    path = target.replace(MARK, "").partition("?")[0]
    headers = {"Authorization": f"Bearer {caller.token}"}
    answer = service.client.request(method, f"{service.url}{path}?no_such_parameter=1", headers=headers)
    return answer.status_code in {401, 403, 404}
