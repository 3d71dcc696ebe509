"""What the audit is told of one request: who, through what, what, whose, when, from where, with which outcome.

One row for each request through an audited door: in the transaction of its effect where it succeeds, in one after
it where it is refused or fails. Only ids, so that erasing a person leaves the audit as it is.
"""

import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import orjson

FIELDS = (
    "nonce", "at", "user_id", "via", "action", "object", "patient_ids", "user_ids", "address", "outcome", "status",
    "request_id",
)  # fmt: skip


@dataclass(slots=True)
class Trail:
    """What is known so far; services add whom it concerns as they go.

    `asked_for` is the patient whom the path names: a request that was refused before anybody looked is about him too,
    one that found nobody is not.
    """

    action: str = ""
    object: str | None = None
    address: str | None = None
    request_id: str = ""
    user_id: int | None = None
    via: str | None = None
    patient_ids: set[int] = field(default_factory=set)
    user_ids: set[int] = field(default_factory=set)
    asked_for: int | None = None

    def who(self, user_id: int, via: str | None) -> None:
        """It is this account that acts, through a `session:…`, a `key:…`, or by other proof."""
        self.user_id = user_id
        self.via = via or self.via

    def concerns(self, *patient_ids: int) -> None:
        """These patients' data are read, written or asked for."""
        self.patient_ids.update(patient_ids)

    def regards(self, *user_ids: int) -> None:
        """These accounts are read, written or asked for."""
        self.user_ids.update(user_ids)

    def forget_objects(self) -> None:
        """Begin anew with whom it concerns, where the same request is carried out once more."""
        self.patient_ids.clear()
        self.user_ids.clear()

    def about(self) -> bytes:
        """Whom it concerns, for an answer that is given again."""
        return orjson.dumps([sorted(self.patient_ids), sorted(self.user_ids)])

    def concern_again(self, about: bytes) -> None:
        """It concerns those whom the first answer did."""
        patient_ids, user_ids = orjson.loads(about or b"[[],[]]")
        self.concerns(*patient_ids)
        self.regards(*user_ids)

    def _asked_for(self, status: int) -> set[int]:
        return set() if self.asked_for is None or status == HTTPStatus.NOT_FOUND else {self.asked_for}

    def entry(self, status: int, now: datetime) -> dict[str, Any]:
        """The row of the audit, but for its seal; `status` is that of the answer."""
        return {
            "nonce": uuid.uuid4(),
            "at": now,
            "user_id": self.user_id,
            "via": self.via,
            "action": self.action,
            "object": self.object,
            "patient_ids": sorted(self.patient_ids | self._asked_for(status)),
            "user_ids": sorted(self.user_ids),
            "address": self.address,
            "outcome": outcome_of(status),
            "status": status,
            "request_id": self.request_id,
        }


def outcome_of(status: int) -> str:
    """How a request with this status ended."""
    if status < HTTPStatus.BAD_REQUEST:
        return "success"
    refused = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS}
    return "refused" if status in refused else "failed"


def canonical(entry: dict[str, Any]) -> bytes:
    """The bytes that an entry's seal is made over, the same for what was written and for what is read again."""
    values = [entry[name] for name in FIELDS]
    values[0], values[1] = str(values[0]), values[1].astimezone(UTC).isoformat(timespec="microseconds")
    return orjson.dumps(values)
