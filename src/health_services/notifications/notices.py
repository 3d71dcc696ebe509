"""What a notice about an account says was done to it: one sentence for each `about`.

Translations stand in `languages/locale/`, as those of sentences.py.
"""

from collections.abc import Callable, Mapping
from typing import Any

from health_services.languages.speaking import Speaker

# Anything else is told in general.
DONE: dict[str, Callable[[Speaker, Mapping[str, Any]], str]] = {
    "password_changed": lambda say, _: say("The password of your account has been changed."),
    "refresh_token_reused": lambda say, _: say(
        "A sign-in to your account was used in two places at once, so we have ended it."
    ),
    "failed_logins": lambda say, _: say(
        "Somebody has tried many times to sign in to your account with a wrong password."
    ),
    "email_changed": lambda say, _: say("The e-mail address of your account has been changed."),
}
