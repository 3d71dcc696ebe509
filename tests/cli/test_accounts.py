"""Accounts by command, while a server runs on the same data directory."""

import errno
import os
import pty
import select
from pathlib import Path

import httpx
import pyotp
import pytest

from tests.cli.commands import PASSWORD, Command, header, run, sign_in
from tests.cli.conftest import ADMIN

Served = tuple[Command, httpx.Client]


def on_a_terminal(data_dir: Path, answers: dict[str, str], *arguments: str) -> tuple[int, str]:
    """The exit code, and what the terminal shows; each prompt gets its answer."""
    ours, theirs = pty.openpty()
    command = Command(*arguments, terminal=os.ttyname(theirs), HEALTH_DATA_DIR=data_dir)
    shown, waiting = "", list(answers.items())
    while command.process.is_alive() or select.select([ours], [], [], 0.2)[0]:
        if select.select([ours], [], [], 0.2)[0]:
            try:
                shown += os.read(ours, 4096).decode()
            except OSError as error:
                assert error.errno == errno.EIO
                break
        if waiting and waiting[0][0] in shown:
            os.write(ours, f"{waiting.pop(0)[1]}\n".encode())
    os.close(theirs)
    os.close(ours)
    return command.wait().code, shown


def test_an_administrator_is_made_at_a_terminal(served: Served, data_dir: Path):
    answers = {"Email": "typed@example.org", "Password": PASSWORD, "Again": PASSWORD}
    code, shown = on_a_terminal(data_dir, answers, "create-admin", "--name", "Typed In")
    assert code == 0, shown
    assert "typed@example.org is an administrator now." in shown
    assert PASSWORD not in shown
    answer = sign_in(served[1], "typed@example.org").json()
    assert (answer["user"]["role"], answer["user"]["name"]) == ("admin", "Typed In")


def test_two_passwords_that_differ_are_refused(served: Served, data_dir: Path):
    answers = {"Password": PASSWORD, "Again": f"{PASSWORD}!"}
    code, shown = on_a_terminal(data_dir, answers, "create-admin", "--email", "differs@example.org")
    assert (code, "Error: The two passwords differ." in shown) == (1, True)
    assert sign_in(served[1], "differs@example.org").status_code == 401


def test_an_administrator_is_made_from_the_environment_once(served: Served, data_dir: Path):
    asked = {"HEALTH_ADMIN_EMAIL": "Given@Example.org", "HEALTH_ADMIN_PASSWORD": PASSWORD, "HEALTH_DATA_DIR": data_dir}
    done = run("create-admin", **asked)
    assert (done.code, done.err) == (0, "given@example.org is an administrator now.\n")
    assert header(served[1], "given@example.org")
    again = run("create-admin", **asked | {"HEALTH_ADMIN_EMAIL": "GIVEN@example.org"})
    assert again.refusal == "An account with this e-mail address exists already."


@pytest.mark.parametrize(
    ("email", "password", "sentence"),
    [
        ("weak@example.org", "short", "The password must have 8 to 128 characters."),
        ("weak@example.org", "x" * 129, "The password must have 8 to 128 characters."),
        ("weak@example.org", "Password1", "The password is among the most common passwords."),
        ("weak@example.org", "WEAK@example.org", "The password must not be the e-mail address or the name."),
        ("weak", PASSWORD, "The e-mail is not a valid e-mail address."),
        ("weak@example.org", "", "No terminal to ask for the password; give it in the environment as"),
    ],
)
def test_an_unfit_administrator_is_refused(email: str, password: str, sentence: str, served: Served, data_dir: Path):
    done = run("create-admin", "--email", email, HEALTH_DATA_DIR=data_dir, HEALTH_ADMIN_PASSWORD=password)
    assert done.refusal.startswith(sentence)
    assert sign_in(served[1], "weak@example.org", password[:128] or "x").status_code == 401


def test_who_is_deactivated_is_out_at_once_and_may_come_back(served: Served, data_dir: Path):
    _, client = served
    person = {"name": "Out", "email": "out@example.org", "password": PASSWORD}
    assert client.post("/auth/register", json=person).status_code == 200
    token = header(client, "out@example.org")
    assert client.get("/auth/profile", headers=token).status_code == 200

    done = run("user", "deactivate", "Out@example.org", HEALTH_DATA_DIR=data_dir)
    assert (done.code, "cannot sign in any more" in done.err) == (0, True)
    assert client.get("/auth/profile", headers=token).status_code == 401
    assert sign_in(client, "out@example.org").status_code == 401

    assert run("user", "activate", "out@example.org", HEALTH_DATA_DIR=data_dir).code == 0
    assert client.get("/auth/profile", headers=token).status_code == 401
    assert header(client, "out@example.org")


def test_a_password_is_set(served: Served, data_dir: Path):
    _, client = served
    person = {"name": "Forgetful", "email": "forgetful@example.org", "password": PASSWORD}
    assert client.post("/auth/register", json=person).status_code == 200
    command = ("user", "set-password", "forgetful@example.org")
    weak = run(*command, HEALTH_DATA_DIR=data_dir, HEALTH_ADMIN_PASSWORD="12345678")
    assert weak.refusal == "The password is among the most common passwords."
    assert sign_in(client, "forgetful@example.org").status_code == 200
    assert run(*command, HEALTH_DATA_DIR=data_dir, HEALTH_ADMIN_PASSWORD="another good one").code == 0
    assert sign_in(client, "forgetful@example.org").status_code == 401
    assert header(client, "forgetful@example.org", "another good one")


def test_lost_second_factors_are_removed(served: Served, data_dir: Path):
    _, client = served
    person = {"name": "Ada", "email": "lost@example.org", "password": PASSWORD}
    assert client.post("/auth/register", json=person).status_code == 200
    token = header(client, "lost@example.org")
    secret = client.post("/auth/mfa/totp", headers=token).json()["secret"]
    body = {"code": pyotp.TOTP(secret).now()}
    assert client.post("/auth/mfa/totp/confirm", json=body, headers=token).status_code == 200
    assert sign_in(client, "lost@example.org").json()["mfa_required"] is True
    done = run("user", "reset-mfa", " Lost@Example.org", HEALTH_DATA_DIR=data_dir)
    assert (done.code, "signs in with the password alone now" in done.err) == (0, True)
    assert client.get("/auth/profile", headers=token).status_code == 401
    assert header(client, "lost@example.org")


@pytest.mark.parametrize("command", ["deactivate", "activate", "set-password", "reset-mfa"])
def test_an_unknown_account_is_an_error(command: str, served: Served, data_dir: Path):
    asked = {"HEALTH_DATA_DIR": data_dir, "HEALTH_ADMIN_PASSWORD": PASSWORD}
    refusal = run("user", command, "nobody@example.org", **asked).refusal
    assert refusal == "There is no account with the e-mail address nobody@example.org."
    assert header(served[1], ADMIN)
