"""The cookie of a user who is signed in, which only this server can sign."""

import base64
import hashlib
import hmac
import ipaddress
import secrets

from aiohttp import hdrs, web

from gae_devserver.http.forwarding import SESSION_COOKIE
from gae_devserver.storage.storage import Storage
from gae_devserver.users.user import User

_KEY = ("users", "key")  # the storage's record
_RECENT = 10


class Sessions:
    """Makes the cookies of one server, and reads them.

    With a storage, its key survives a restart; without one, each run has its own.
    """

    def __init__(self, port: int, storage: Storage | None) -> None:
        """Make the sessions of the server on `port`.

        The port is in the name of its cookie. Otherwise two servers on one host would
        replace each other's.
        """
        self._name = f"{SESSION_COOKIE}{port}"
        self._storage = storage
        self._key: bytes | None = None
        self._recent: dict[str, User] = {}
        self.changes = 0
        """Goes up when someone signs in, and when everyone is signed out."""

    def begin(self, user: User) -> str:
        """Return the Set-Cookie header that signs a user in.

        Raises:
            StorageError: the key cannot be stored.
        """
        content = f"{int(user.is_admin)}{user.email}".encode()
        signed = base64.urlsafe_b64encode(content).decode()
        value = f"{signed}.{self._signature(signed)}"
        self._recent = {user.email: user} | {
            email: recent
            for email, recent in self._recent.items()
            if email != user.email
        }
        if len(self._recent) > _RECENT:
            self._recent.popitem()
        self.changes += 1
        if self._storage is not None:
            self._storage.flush()
        return f"{self._name}={value}; Path=/; HttpOnly; SameSite=Lax"

    def end(self) -> str:
        """Return the Set-Cookie header that signs the user out."""
        return f"{self._name}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"

    def user_of(self, request: web.BaseRequest) -> User | None:
        """Return who is signed in; None: not signed in."""
        headers = request.headers.getall(hdrs.COOKIE, [])
        if not any(self._name in header for header in headers):
            return None
        cookies = [cookie for header in headers for cookie in header.split(";")]
        pairs = [cookie.strip().partition("=") for cookie in cookies]
        users = {self._user(value) for name, _, value in pairs if name == self._name}
        # An app can add cookies of this name. It has no valid one.
        users.discard(None)
        return users.pop() if len(users) == 1 and is_local(request) else None

    @property
    def recent(self) -> list[User]:
        """Who has signed in during this run, the last one first."""
        return list(self._recent.values())

    def end_all(self) -> None:
        """Sign everyone out: no cookie is valid any more."""
        self._key = None
        if self._storage is not None:
            self._storage.put_record(*_KEY, None)
        self.changes += 1

    def clear(self) -> None:
        """Sign everyone out, and forget who it was."""
        self.end_all()
        self._recent.clear()

    def _user(self, value: str) -> User | None:
        signed, _, signature = value.partition(".")
        # aiohttp decodes invalid UTF-8 to surrogates
        if not value.isascii() or not hmac.compare_digest(
            signature, self._signature(signed)
        ):
            return None
        content = base64.urlsafe_b64decode(signed).decode()
        return User(email=content[1:], is_admin=content[0] == "1")

    def _signature(self, signed: str) -> str:
        return hmac.new(self._load_key(), signed.encode(), hashlib.sha256).hexdigest()

    def _load_key(self) -> bytes:
        if self._key is None and self._storage is not None:
            self._key = self._storage.record(*_KEY)
        if self._key is None:
            self._key = secrets.token_bytes(32)
            if self._storage is not None:
                self._storage.put_record(*_KEY, self._key)
        return self._key


def is_local(request: web.BaseRequest) -> bool:
    """Return whether the client runs on this machine.

    With --host, it may have connected from the address that it connected to.
    """
    peer = request.get_extra_info("peername")
    own = request.get_extra_info("sockname")
    if not peer or not own:
        return False  # the client has disconnected
    return peer[0] == own[0] or ipaddress.ip_address(peer[0]).is_loopback
