"""A short name for the program that somebody signs in with, from what it says of itself (User-Agent, RFC 9110)."""

import re

_LONGEST = 100
# The more telling mark first: nearly every browser also claims to be Chrome or Safari.
_BROWSERS = (
    ("Edge", r"Edg(?:e|A|iOS)?/"),
    ("Opera", r"OPR/|Opera"),
    ("Samsung Internet", r"SamsungBrowser/"),
    ("Firefox", r"Firefox/|FxiOS/"),
    ("Chrome", r"Chrome/|CriOS/|Chromium/"),
    ("Safari", r"Version/[\d.]+ .*Safari/"),
)
_SYSTEMS = (
    ("Android", r"Android"),
    ("iPhone", r"iPhone"),
    ("iPad", r"iPad"),
    ("Windows", r"Windows"),
    ("ChromeOS", r"CrOS"),
    ("macOS", r"Mac OS X|Macintosh"),
    ("Linux", r"Linux|X11"),
)
_PRODUCT = re.compile(r"[!-~]+")


def client_of(user_agent: str | None) -> str | None:
    """As in «Firefox on Linux», or the first word of a program that is no browser; None for one that says nothing.

    At most 100 printable ASCII characters.
    """
    text = user_agent or ""
    browser, system = _first(_BROWSERS, text), _first(_SYSTEMS, text)
    if browser:
        return f"{browser} on {system}" if system else browser
    product = _PRODUCT.search(text)
    return product[0][:_LONGEST] if product else None


def _first(marks: tuple[tuple[str, str], ...], text: str) -> str | None:
    return next((name for name, mark in marks if re.search(mark, text)), None)
