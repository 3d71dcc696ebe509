"""A message's content as a mail's two bodies, an SMS, a push."""

import re
from functools import cache, partial
from pathlib import Path

import mrml
import orjson
from jinja2 import Environment, FunctionLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from health_services.notifications.wording import Content

TEMPLATES = Path(__file__).with_name("templates")

# What every push service takes, encrypted, with room to spare.
_PUSH_BYTES = 3000
# The shortest number that can be called: emergency numbers have as many.
_FEWEST_DIGITS = 3


def render(content: Content) -> tuple[str, str]:
    """The mail's plain text and its HTML."""
    places = {
        "content": content,
        "direction": _direction(content),
        "start": "right" if content.is_right_to_left else "left",
        "with_calls": partial(_with_calls, content.phone),
    }
    return _template("message.txt").render(places), _template("message.mjml").render(places)


def sms_text(content: Content) -> str:
    """The text of an SMS: one line without links, of at most 300 characters."""
    return content.short


def push_payload(content: Content, *, tag: str) -> bytes:
    """JSON {title, body, lang, dir, tag} of at most 3000 bytes; a later push with the same `tag` replaces it.

    Raises ValueError if the tag is too long for that.
    """
    payload = orjson.dumps(
        {
            "title": content.subject,
            "body": content.short,
            "lang": content.locale,
            "dir": _direction(content),
            "tag": tag,
        }
    )
    if len(payload) > _PUSH_BYTES:
        raise ValueError("the push is too long")
    return payload


def _with_calls(phone: str, line: str) -> Markup:
    """The line as HTML, in which the number can be called."""
    number = _dialled(phone)
    if not number:
        return escape(line)
    link = Markup('<a href="tel:{}" dir="ltr" style="white-space: nowrap;">{}</a>').format(number, phone)
    return link.join(re.split(rf"(?<!\w){re.escape(phone)}(?!\w)", line))


def _dialled(phone: str) -> str:
    """What a telephone dials, digits and a leading +; nothing for what is not just one number."""
    written = phone.strip("\u2068\u2069")
    if not re.fullmatch(r"\+?[\d ().\-/]*", written):
        return ""
    if written.startswith("+"):
        written = written.replace("(0)", "")  # it is dialled only where the country's code is not
    digits = "".join(str(int(digit)) for digit in re.findall(r"\d", written))
    return f"{'+' * written.startswith('+')}{digits}" if len(digits) >= _FEWEST_DIGITS else ""


def _direction(content: Content) -> str:
    return "rtl" if content.is_right_to_left else "ltr"


@cache
def _template(name: str) -> Template:
    """A template, compiled once; in what becomes HTML, every value is escaped."""
    templates = Environment(
        loader=FunctionLoader(_source),
        autoescape=name.endswith(".mjml"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return templates.get_template(name)


def _source(name: str) -> str:
    """The template's text; MJML becomes HTML, with Jinja's marks where they stood."""
    text = (TEMPLATES / name).read_text(encoding="utf-8")
    if not name.endswith(".mjml"):
        return text
    return mrml.to_html(text, None, mrml.RenderOptions(fonts={})).content
