"""Mail that the app receives: requests to `/_ah/mail/ADDRESS` and `/_ah/bounce`."""

import secrets
from collections.abc import Awaitable, Callable
from urllib.parse import quote

from aiohttp import hdrs
from multidict import CIMultiDict

from gae_devserver.app.client import Request
from gae_devserver.config.app_yaml import AppConfig
from gae_devserver.mail.mime import Content

MAIL, BOUNCE = "mail", "mail_bounce"
IP = "0.1.0.20"
"""By this address, an app recognizes mail."""
DEADLINE = 600.0

_DAEMON = "Mail Delivery Subsystem <mailer-daemon@googlemail.com>"
_FAILURE = "Delivery Status Notification (Failure)"


class NotEnabledError(Exception):
    """app.yaml does not ask for this mail; the message says what to add."""


class InboundMail:
    """Passes mail to the app as App Engine does."""

    def __init__(
        self,
        config: Callable[[], AppConfig],
        send: Callable[[Request], Awaitable[int]],
    ) -> None:
        """Pass mail to the service whose settings in effect `config` returns.

        `send` sends a request to it and returns the status of the answer.
        """
        self._config = config
        self._send = send

    async def deliver(self, address: str, message: bytes) -> int:
        """Deliver a MIME message to an address; return the status of the answer.

        Raises:
            NotEnabledError: app.yaml does not ask for mail.
            AppUnavailable: the app does not run.
            OSError: the app did not answer.
        """
        self._check(MAIL)
        target = f"/_ah/mail/{quote(address, safe='')}"
        return await self._post(target, "message/rfc822", message)

    async def bounce(self, content: Content, message: str, why: str) -> int:
        """Tell the app that a mail of its own, a MIME message, cannot be delivered.

        Raises:
            NotEnabledError: app.yaml does not ask for bounces.
            AppUnavailable: the app does not run.
            OSError: the app did not answer.
        """
        self._check(BOUNCE)
        fields = {
            "original-from": content.sender,
            "original-to": ", ".join(content.to),
            "original-cc": ", ".join(content.cc),
            "original-bcc": ", ".join(content.bcc),
            "original-subject": content.subject,
            "original-text": content.body or content.html or "",
            "notification-from": _DAEMON,
            "notification-to": content.sender,
            "notification-subject": _FAILURE,
            "notification-text": why,
            "raw-message": message,
        }
        boundary = secrets.token_hex(16)
        lines: list[str] = []
        for name, text in fields.items():
            head = f'Content-Disposition: form-data; name="{name}"'
            lines += [f"--{boundary}", head, "", text]
        body = "\r\n".join([*lines, f"--{boundary}--", ""]).encode()
        return await self._post(
            "/_ah/bounce", f"multipart/form-data; boundary={boundary}", body
        )

    def refusal(self, kind: str = MAIL) -> str | None:
        """Return why the app gets no such mail, and what to do; None: it gets it."""
        config = self._config()
        if kind in config.inbound_services:
            return None
        kinds = ", ".join(sorted({*config.inbound_services, kind}))
        return (
            f"{config.path.name} does not enable the service {kind!r}. "
            f"Write 'inbound_services: [{kinds}]'."
        )

    def _check(self, kind: str) -> None:
        if (refusal := self.refusal(kind)) is not None:
            raise NotEnabledError(refusal)

    async def _post(self, target: str, media_type: str, body: bytes) -> int:
        headers: CIMultiDict[str] = CIMultiDict()
        headers[hdrs.CONTENT_TYPE] = media_type
        headers[hdrs.CONTENT_LENGTH] = str(len(body))
        return await self._send(Request("POST", target, headers, body))
