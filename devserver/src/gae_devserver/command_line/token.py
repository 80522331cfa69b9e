"""The token of the State API, which a user can set for several runs."""

import re
import secrets
from collections.abc import MutableMapping

VARIABLE = "GAE_DEVSERVER_TOKEN"


class TokenError(Exception):
    """The variable has no usable token; the message is for the user."""


def take(environment: MutableMapping[str, str]) -> str | None:
    """Remove the token from an environment, which the app's process inherits."""
    return environment.pop(VARIABLE, None)


def check(given: str | None) -> str:
    """Return the token that the user has set, or a new one.

    Raises:
        TokenError: it is too short, or cannot be in a header or a URL.
    """
    if given is None:
        return secrets.token_hex(16)
    if not re.fullmatch(r"[!-~]{16,}", given):
        # the message does not show it: a log may be public
        raise TokenError(
            f"{VARIABLE} has {len(given)} characters. A token has at least 16, all of "
            "them printable ASCII, and no space. To make one: "
            "python3 -c 'import secrets; print(secrets.token_hex(16))'"
        )
    return given
