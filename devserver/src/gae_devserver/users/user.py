"""A user of the app, as the app sees one."""

import dataclasses
import hashlib

_AUTH_DOMAIN = "gmail.com"


@dataclasses.dataclass(frozen=True)
class User:
    """Someone who is signed in."""

    email: str
    is_admin: bool = False

    @property
    def id(self) -> str:
        """The same ID for an address in each run, and on Google's dev server."""
        digest = hashlib.md5(self.email.lower().encode(), usedforsecurity=False)
        return "1" + "".join(f"{byte:02}" for byte in digest.digest())[:20]

    def headers(self) -> dict[str, str]:
        """Return the headers by which the SDK in the app knows the user."""
        name, _, domain = self.email.rpartition("@")
        # as `users.User.nickname` of the SDK
        is_gmail = domain == _AUTH_DOMAIN
        return {
            "X-Appengine-User-Email": self.email,
            "X-Appengine-User-Id": self.id,
            "X-Appengine-User-Is-Admin": str(int(self.is_admin)),
            "X-Appengine-User-Nickname": name if is_gmail else self.email,
            "X-Appengine-User-Organization": "" if is_gmail else domain,
        }
