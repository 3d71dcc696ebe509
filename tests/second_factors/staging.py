"""Everybody's second factors, for the table of docs/access.md: put there in the past, ready to be used once."""

import hashlib
from dataclasses import dataclass
from typing import Any

import pyotp
from fastapi import FastAPI

from tests.access.cast import Cast
from tests.factories import Person, World
from tests.second_factors.authenticator import Device, base64url

SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
_TOKEN = """INSERT INTO one_time_tokens (token_hash, purpose, user_id, data, expires_at)
    VALUES ($1, $2, $3, $4, now() + interval '5 minutes')"""


@dataclass(frozen=True)
class Staged:
    """The patient's passkey, and the tokens that are about to be used."""

    device: Device
    mfa_token: str
    making: str
    using: str

    def code(self) -> str:
        return pyotp.TOTP(SECRET).now()

    def made(self) -> dict[str, Any]:
        handle = {"id": base64url(bytes(8))}
        return Device().create({"challenge": self.making, "user": handle})

    def used(self) -> dict[str, Any]:
        return self.device.get({"challenge": self.using})


async def make_factors(world: World, app: FastAPI, cast: Cast) -> dict[str, Any]:
    """Everybody has an authenticator app and has begun another, of the same secret; the patient has a passkey too."""
    people = [
        cast.patient,
        cast.other_patient,
        cast.doctor,
        cast.other_doctor,
        cast.staff,
        cast.other_staff,
        cast.admin,
    ]
    for person in people:
        await _app_of(world, app, person)
    patient = cast.patient.user_id
    device = Device(handle=base64url(patient.to_bytes(8, "big")))
    passkey = await world.owner.fetchval(
        "INSERT INTO passkeys (user_id, name, credential_id, public_key) VALUES ($1, 'Phone', $2, $3) RETURNING id",
        *(patient, device.credential_id, device.public_key),
    )
    making, using, mfa_token = (base64url(f"{what} of {patient}".encode().ljust(32)) for what in ("make", "use", "mfa"))
    begun = '{"device": {}, "methods": ["pwd"]}'
    for token, purpose, user_id, data in (
        (making, "passkey_registration", patient, "{}"),
        (using, "passkey_login", None, "{}"),
        (mfa_token, "mfa", patient, begun),
    ):
        await world.owner.execute(_TOKEN, hashlib.sha256(token.encode()).digest(), purpose, user_id, data)
    return {"passkey_id": passkey, "staged": Staged(device, mfa_token, making, using)}


async def _app_of(world: World, app: FastAPI, person: Person) -> None:
    names = ("secret", "next_secret")
    vault = app.state.vault
    sealed = [str(vault.seal("totp_authenticators", name, person.user_id, SECRET)) for name in names]
    await world.owner.execute(
        "INSERT INTO totp_authenticators (user_id, secret, next_secret, confirmed_at) VALUES ($1, $2, $3, now())",
        *(person.user_id, *sealed),
    )
