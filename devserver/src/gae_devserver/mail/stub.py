"""The mail service: logs and keeps what the app sends, and passes it to SMTP."""

import logging
from collections.abc import Callable
from typing import Any

from google.appengine.api import mail_stub
from google.appengine.runtime import apiproxy_errors

from gae_devserver.clock import Clock
from gae_devserver.mail import smtp
from gae_devserver.mail.mime import Content, content_of
from gae_devserver.mail.sent import SentMails
from gae_devserver.mail.smtp_server import SmtpServer
from gae_devserver.storage.storage import Storage
from gae_devserver.terminal import printable

logger = logging.getLogger("gae_devserver")


class Mail(mail_stub.MailServiceStub):  # type: ignore[misc]
    """Takes mails, each in the thread that calls it."""

    def __init__(
        self,
        clock: Clock,
        in_loop: Callable[..., Any],
        storage: Storage | None = None,
        server: SmtpServer | None = None,
    ) -> None:
        """Make the service; without a server, nothing is sent.

        `in_loop` calls a function with its arguments in the event loop.
        """
        super().__init__()
        self._clock = clock
        self._in_loop = in_loop
        self._server = server
        self.sent = SentMails(clock, storage)
        """What the app has sent; it belongs to the loop."""

    def _Dynamic_Send(self, request: Any, response: Any) -> None:
        self._take(request, to_admins=False)

    def _Dynamic_SendToAdmins(self, request: Any, response: Any) -> None:
        self._take(request, to_admins=True)

    def _take(self, message: Any, *, to_admins: bool) -> None:
        self._ValidateExtensions(message)
        content = content_of(message)
        what = _summary(content, to_admins)
        if self._server is not None and not to_admins:
            try:
                smtp.send(content, self._clock.now(), self._server)
            except apiproxy_errors.ApplicationError as error:
                logger.error("%s: %s", what, printable(error.error_detail))
                raise
        logger.info("%s", what)
        self._in_loop(self._keep, message, to_admins)

    def _keep(self, message: Any, to_admins: bool) -> None:
        self.sent.add(message, to_admins=to_admins)


def _summary(content: Content, to_admins: bool) -> str:
    """Return the log line of a mail."""
    to = ["the administrators"] if to_admins else content.to
    recipients = ", ".join(to)
    for name, values in (("cc", content.cc), ("bcc", content.bcc)):
        if values:
            recipients += f", {name} {', '.join(values)}"
    line = f"mail from {content.sender} to {recipients}: {content.subject}"
    if content.attachments:
        files = (f"{file.name} ({len(file.content)} B)" for file in content.attachments)
        line += f", with {', '.join(files)}"
    return printable(line)
