"""Time-based one-time passwords (RFC 6238): six digits, a new one every 30 seconds; and the QR code to begin with."""

import hmac
import io
import re
from datetime import datetime

import pyotp

# A clock may be one period behind or ahead of ours.
TOLERANCE = 1
_CODE = re.compile(r"\d{6}", re.ASCII)


def new_secret() -> str:
    """160 random bits (RFC 4226, section 4) in base32."""
    return pyotp.random_base32()


def uri_of(secret: str, *, account: str, issuer: str) -> str:
    """What an authenticator app reads: `otpauth://totp/…`; a colon would part issuer and account elsewhere."""
    return pyotp.TOTP(secret).provisioning_uri(name=account, issuer_name=issuer.replace(":", " "))


def qr_svg(uri: str) -> str:
    """The QR code of a URI, as an SVG element that stands in a page and alone."""
    import segno  # noqa: PLC0415 - few requests need it

    written = io.BytesIO()
    segno.make(uri, micro=False).save(written, kind="svg", scale=4, xmldecl=False, nl=False)
    return written.getvalue().decode()


def is_code(text: str) -> bool:
    """Whether it has the form of a code."""
    return _CODE.fullmatch(text) is not None


def step_of(secret: str, code: str, now: datetime) -> int | None:
    """The latest period of 30 seconds, among the present one and its neighbours, whose code this is."""
    totp = pyotp.TOTP(secret)
    present = totp.timecode(now)
    steps = range(present - TOLERANCE, present + TOLERANCE + 1)
    matching = [step for step in steps if hmac.compare_digest(totp.generate_otp(step).encode(), code.encode())]
    return max(matching, default=None)
