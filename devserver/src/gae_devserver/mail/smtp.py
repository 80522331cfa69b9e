"""Sends the app's mails through an SMTP server."""

import contextlib
import smtplib
import ssl

from google.appengine.api import mail_service_pb2 as pb
from google.appengine.runtime import apiproxy_errors

from gae_devserver.mail.mime import Content
from gae_devserver.mail.smtp_server import TLS_PORT, SmtpServer

_SECONDS = 30.0
_ERRORS = pb.MailServiceError


def send(content: Content, sent: float, server: SmtpServer) -> None:
    """Send a mail; return when the server has accepted it for every recipient.

    Port 465 means TLS; on other ports, TLS begins when the server offers it. Then its
    certificate is checked, unless it is on this machine.

    Raises:
        apiproxy_errors.ApplicationError: it was not sent, or not to all.
    """
    try:
        message = content.message(sent)
    except ValueError as error:
        raise _error(_ERRORS.BAD_REQUEST, str(error)) from None
    try:
        connection = _connect(server)
        with contextlib.closing(connection):
            refused = connection.send_message(message, to_addrs=content.recipients)
            with contextlib.suppress(smtplib.SMTPException, OSError):
                connection.quit()
    except smtplib.SMTPRecipientsRefused as error:
        refused = error.recipients
    except (smtplib.SMTPException, OSError) as error:
        code, why = _ERRORS.INTERNAL_ERROR, str(error) or type(error).__name__
        if isinstance(error, smtplib.SMTPResponseException):
            why = f"{error.smtp_code} {_text(error.smtp_error)}"
        if isinstance(error, smtplib.SMTPSenderRefused):
            code = _ERRORS.UNAUTHORIZED_SENDER
        detail = f"the SMTP server {server} did not take the mail: {why}"
        raise _error(code, detail) from None
    if refused:
        detail = f"the SMTP server {server} refused {', '.join(refused)}"
        raise _error(_ERRORS.BAD_REQUEST, detail)


def _connect(server: SmtpServer) -> smtplib.SMTP:
    context = ssl.create_default_context()
    if server.is_here:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    host, port = server.host, server.port
    has_tls = port == TLS_PORT
    connection = (
        smtplib.SMTP_SSL(host, port, timeout=_SECONDS, context=context)
        if has_tls
        else smtplib.SMTP(host, port, timeout=_SECONDS)
    )
    try:
        connection.ehlo_or_helo_if_needed()
        if not has_tls and connection.has_extn("starttls"):
            connection.starttls(context=context)
            connection.ehlo()
            has_tls = True
        if server.user:
            if not (has_tls or server.is_here):
                raise smtplib.SMTPException("it offers no TLS for the password")
            connection.login(server.user, server.password)
    except BaseException:
        connection.close()
        raise
    return connection


def _text(said: bytes | str) -> str:
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else said


def _error(code: int, detail: str) -> apiproxy_errors.ApplicationError:
    return apiproxy_errors.ApplicationError(code, detail)
