"""What a server has not loaded when it is ready: each is memory and time that few requests ever need."""

import json
import subprocess
import sys

# And what each is for. Whoever needs one at each start takes it out here, and runs `benchmarks/speed/run.py start`.
RARE = {
    "alembic": "a schema that is not at head",
    "aiohttp": "webhooks, pushes and SMS: the worker's",
    "pywebpush": "pushes: the worker's",
    "requests": "nothing of ours; pywebpush brings it",
    "jinja2": "the wording of mails: the worker's",
    "redis": "limits of several machines",
    "webauthn": "passkeys",
    "icalendar": "calendars",
    "segno": "a QR code at the enrolment of an authenticator app",
    "zxcvbn": "nothing but one of its files, which is read",
    "health_services.demo": "a command",
}
SERVER = """
import asyncio, json, sys
from health_services import cli, serving
begun_with = set(sys.modules)
serving.load_application(has_worker=False)
from health_services.main import create_app
from health_services.settings import Settings
app = create_app(Settings(database_url="postgresql:///none", secret_key="-" * 32))
asyncio.run(app.state.gate.passwords.prepare())
print(json.dumps([sorted(begun_with), sorted(sys.modules)]))
"""


def test_a_server_starts_without_what_is_rarely_needed():
    run = subprocess.run([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True, check=True)
    begun_with, loaded = map(set, json.loads(run.stdout))
    assert not loaded & RARE.keys()
    # It is imported while the database starts, and not before.
    assert "health_services.main" in loaded - begun_with
