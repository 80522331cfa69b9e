"""Mails as MIME messages: what an SMTP server and the app's handlers get."""

import dataclasses
from collections.abc import Sequence
from email import policy, utils
from email.message import EmailMessage
from typing import Any

_DOMAIN = "gae-devserver.invalid"


@dataclasses.dataclass(frozen=True)
class Attachment:
    """A file of a mail."""

    name: str
    content: bytes
    content_id: str | None = None

    @property
    def type(self) -> str:
        """The media type that App Engine gives a file with this name."""
        # slow to import, and not needed at the start
        from google.appengine.api import mail

        extension = self.name.rpartition(".")[2].lower()
        known: str | None = mail.EXTENSION_MIME_MAP.get(extension)
        return known or "application/octet-stream"


@dataclasses.dataclass(frozen=True)
class Content:
    """What a mail says."""

    sender: str
    to: Sequence[str] = ()
    cc: Sequence[str] = ()
    bcc: Sequence[str] = ()
    reply_to: str = ""
    subject: str = ""
    body: str | None = None
    html: str | None = None
    amp_html: str | None = None
    headers: Sequence[tuple[str, str]] = ()
    attachments: Sequence[Attachment] = ()

    @property
    def recipients(self) -> list[str]:
        """The addresses without names."""
        pairs = utils.getaddresses([*self.to, *self.cc, *self.bcc])
        return [address for _, address in pairs]

    def message(self, sent: float) -> EmailMessage:
        """Return the MIME message, in which nothing shows the recipients of Bcc.

        Raises:
            ValueError: a header has a line break.
        """
        message = EmailMessage(policy.SMTP)
        message["Date"] = utils.formatdate(sent)
        message["Message-ID"] = utils.make_msgid(domain=_DOMAIN)
        message["From"] = self.sender
        for name, values in (("To", self.to), ("Cc", self.cc)):
            if values:
                message[name] = ", ".join(values)
        if self.reply_to:
            message["Reply-To"] = self.reply_to
        message["Subject"] = self.subject
        for name, value in self.headers:
            message[name] = value
        parts = (
            ("plain", self.body),
            ("x-amp-html", self.amp_html),
            ("html", self.html),
        )
        add = message.set_content
        for subtype, text in parts:
            if text is not None:
                add(text, subtype=subtype)
                add = message.add_alternative
        for attachment in self.attachments:
            maintype, _, subtype = attachment.type.partition("/")
            message.add_attachment(
                attachment.content,
                maintype=maintype,
                subtype=subtype,
                filename=attachment.name,
                cid=attachment.content_id,
            )
        return message


def content_of(message: Any) -> Content:
    """Return what a MailMessage of the SDK says."""

    def text(field: str) -> str | None:
        return getattr(message, field) if message.HasField(field) else None

    return Content(
        sender=message.Sender,
        to=tuple(message.To),
        cc=tuple(message.Cc),
        bcc=tuple(message.Bcc),
        reply_to=message.ReplyTo,
        subject=message.Subject,
        body=text("TextBody"),
        html=text("HtmlBody"),
        amp_html=text("AmpHtmlBody"),
        headers=tuple((header.name, header.value) for header in message.Header),
        attachments=tuple(
            Attachment(file.FileName, file.Data, file.ContentID or None)
            for file in message.Attachment
        ),
    )
