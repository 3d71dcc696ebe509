"""What a session is called, from what its program says of itself."""

import pytest

from health_services.sessions.clients import client_of

MOZILLA = "Mozilla/5.0"
CHROME = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36"


@pytest.mark.parametrize(
    ("said", "name"),
    [
        (f"{MOZILLA} (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0", "Firefox on Linux"),
        (f"{MOZILLA} (Windows NT 10.0; Win64; x64) {CHROME}", "Chrome on Windows"),
        (f"{MOZILLA} (Windows NT 10.0; Win64; x64) {CHROME} Edg/138.0.0.0", "Edge on Windows"),
        (f"{MOZILLA} (Macintosh; Intel Mac OS X 10_15_7) {CHROME} OPR/120.0", "Opera on macOS"),
        (f"{MOZILLA} (Macintosh; Intel Mac OS X 10_15_7) Version/18.5 Safari/605.1.15", "Safari on macOS"),
        (f"{MOZILLA} (iPhone; CPU iPhone OS 18_5 like Mac OS X) Version/18.5 Mobile/15E148 Safari/604.1",
         "Safari on iPhone"),
        (f"{MOZILLA} (iPhone; CPU iPhone OS 18_5 like Mac OS X) CriOS/138.0 Mobile Safari/604.1", "Chrome on iPhone"),
        (f"{MOZILLA} (Linux; Android 15; Pixel 9) {CHROME}", "Chrome on Android"),
        (f"{MOZILLA} (Linux; Android 15) SamsungBrowser/28.0 {CHROME}", "Samsung Internet on Android"),
        (f"{MOZILLA} (X11; CrOS x86_64 16181.61.0) {CHROME}", "Chrome on ChromeOS"),
        ("Firefox/142.0", "Firefox"),
        ("curl/8.14.1", "curl/8.14.1"),
        ("python-httpx/0.28.1", "python-httpx/0.28.1"),
        ("  MyClinic/2.0 (build 7)", "MyClinic/2.0"),
        ("\u00e9\u00e9\u00e9", None),
        ("", None),
        (None, None),
    ],
)  # fmt: skip
def test_the_name_of_a_program(said: str | None, name: str | None):
    assert client_of(said) == name


def test_the_name_is_short_and_harmless():
    for said in ("x" * 10_000, "<script>alert(1)</script>" * 100, "\x00\x07 a\r\nb", "Firefox/" * 5000):
        name = client_of(said)
        assert name is not None
        assert len(name) <= 100
        assert all("!" <= sign <= "~" for sign in name.replace(" ", ""))
