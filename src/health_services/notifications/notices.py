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
    "account_changed": lambda say, _: say("An administrator has changed the rights of your account."),
    "api_key_created": lambda say, _: say("A new API key has been made for your account."),
    "totp_added": lambda say, _: say("An authenticator app has been added to your account."),
    "totp_removed": lambda say, _: say("The authenticator app has been removed from your account."),
    "passkey_added": lambda say, _: say("A passkey has been added to your account."),
    "passkey_removed": lambda say, _: say("A passkey has been removed from your account."),
    "recovery_codes_replaced": lambda say, _: say(
        "New recovery codes have been made for your account. The earlier ones do not work any more."
    ),
    "recovery_code_used": lambda say, data: say(
        "A recovery code of your account has been used. Codes that are left: %(left)s.", left=str(data.get("left", 0))
    ),
    "second_factors_removed": lambda say, _: say(
        "An administrator has removed the authenticator app and the passkeys of your account, and has signed you out "
        "everywhere."
    ),
}
