"""What these tests share: browsers, and names whose addresses no network is asked for."""

import socket
from typing import Any

import pytest

from health_services.outgoing import addresses

P256DH = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
AUTH = "BTBZMqHH6r4Tts7J_aSIgg"
ADDRESSES = {
    "push.example.net": ["8.8.8.8", "2606:4700::1111"],
    "other.example.net": ["1.1.1.1"],
    "inside.example.net": ["10.0.0.1"],
    "mixed.example.net": ["8.8.8.8", "::1"],
}


def browser(path: str = "abc", host: str = "push.example.net", **changes: Any) -> dict[str, Any]:
    """What PushSubscription.toJSON() gives."""
    return {
        "endpoint": f"https://{host}/send/{path}",
        "expirationTime": None,
        "keys": {"p256dh": P256DH, "auth": AUTH},
        **changes,
    }


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which names were asked for; only those of ADDRESSES are known, and numbers are their own address."""
    asked: list[str] = []

    async def found(host: str, *_: object, **__: object) -> list[tuple[int, str]]:
        asked.append(host)
        if host in ADDRESSES:
            return [(socket.AF_INET, address) for address in ADDRESSES[host]]
        flags = socket.AI_NUMERICHOST
        return [(socket.AF_INET, str(info[4][0])) for info in socket.getaddrinfo(host, None, flags=flags)]

    monkeypatch.setattr(addresses, "addresses_of", found)
    return asked
