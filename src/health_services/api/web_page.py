"""A small page for a person, in his language and readable on a phone; it loads nothing of others."""

from html import escape

from fastapi import Response

from health_services.languages.locales import is_right_to_left
from health_services.languages.speaking import Speaker

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"
_PAGE = """<!doctype html>
<html lang="{lang}" dir="{direction}"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex"><title>{title}</title>
<style>body{{font:1.1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:15vh auto;padding:0 1.2rem;color:#1a1a1a}}
button{{font:inherit;padding:.6rem 1.2rem;border:0;border-radius:.4rem;background:#0b5cad;color:#fff}}
input{{font:inherit;display:block;box-sizing:border-box;width:100%;padding:.5rem;margin-top:.2rem}}</style></head>
<body><h1>{title}</h1>{content}</body></html>"""


def web_page(say: Speaker, title: str, content: str, *, allows: str) -> Response:
    """The page; `content` is HTML, `allows` is what its Content-Security-Policy says of forms and scripts."""
    direction = "rtl" if is_right_to_left(say.locale) else "ltr"
    page = _PAGE.format(lang=say.locale, direction=direction, title=escape(title), content=content)
    return Response(page, media_type="text/html", headers={"Content-Security-Policy": f"{_POLICY}; {allows}"})


def paragraph(text: str) -> str:
    """The text as HTML."""
    return f"<p>{escape(text)}</p>"
