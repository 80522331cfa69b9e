"""The pages of mail: what the app has sent, and what is sent to it."""

import base64
import contextlib
import time
from collections.abc import Awaitable, Hashable, Iterator, Mapping
from typing import Any

from aiohttp import web

from gae_devserver.console.frame import bodies, downloads
from gae_devserver.console.frame.answers import show, wants_html
from gae_devserver.http.server import read_body
from gae_devserver.mail.inbound import InboundMail, NotEnabledError
from gae_devserver.mail.mime import Attachment, Content, content_of
from gae_devserver.mail.sent import SentMail, SentMails
from gae_devserver.services.services import Services

_PAGE = 100
_PAGE_BYTES = 2**20
"""A page ends with the mail that reaches this size: more would hold up the app."""
_TEXTS = frozenset({"from", "subject", "body", "html", "reply_to"})
_LISTS = frozenset({"to", "cc", "bcc"})
_MAIL = '{"to": "in@example.com", "from": "ann@example.com", "body": "Hello"}'
_BOUNCE = '{"id": 1}'
_ONE = "/mails/{number:[0-9]{1,9}}"
_MESSAGE = "message/rfc822"
_REASON = "550 5.1.1 The email account that you tried to reach does not exist."


class MailRoutes:
    """Shows what the app has sent, and delivers mail to it."""

    def __init__(self, services: Services, inbound: InboundMail) -> None:
        self._services = services
        self._inbound = inbound

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/mails", self._list),
            web.delete("/mails", self._delete_all),
            web.get(_ONE, self._show),
            web.get(_ONE + "/raw", self._raw),
            web.get(_ONE + "/attachments/{place:[0-9]{1,4}}", self._attachment),
            web.post("/mails/in", self._deliver),
            web.post("/mails/bounce", self._bounce),
        ]

    def revisions(self) -> Mapping[str, Hashable]:
        """Return what changes with each mail."""
        mail = self._services.used_stub("mail")
        return {"mails": mail and (id(mail), mail.sent.changes)}

    def _sent(self) -> SentMails | None:
        mail = self._services.used_stub("mail", stored=True)
        return mail and mail.sent

    async def _list(self, request: web.Request) -> web.StreamResponse:
        limit = bodies.limit_in(request.query, _PAGE)
        (last,) = bodies.cursor_in(request.query, "0")
        # programs read all, and people the last ones
        order = request.query.get("order", "newest" if wants_html(request) else "")
        if order not in {"", "newest"}:
            text = f"order is {order!r:.100}, but it must be 'newest', or left out."
            raise web.HTTPBadRequest(text=text)
        mails: list[SentMail] = []
        if (sent := self._sent()) is not None:
            if order:
                mails = sent.before(last or None, limit + 1)
            else:
                mails = sent.after(last, limit + 1)
        page: list[SentMail] = []
        size = 0
        for mail in mails[:limit]:
            page.append(mail)
            size += mail.size
            if size >= _PAGE_BYTES:
                break
        data = {
            "mails": [_describe(mail) for mail in page],
            "cursor": str(page[-1].number) if len(mails) > len(page) else None,
            "inbound_refusal": self._inbound.refusal(),
        }
        return show(request, data, "mails.html")

    async def _show(self, request: web.Request) -> web.StreamResponse:
        mail = self._find(int(request.match_info["number"]))
        described = _describe(mail, with_content=not wants_html(request))
        return show(request, described, "mail.html")

    async def _raw(self, request: web.Request) -> web.Response:
        mail = self._find(int(request.match_info["number"]))
        try:
            message = content_of(mail.message).message(mail.sent).as_bytes()
        except ValueError as error:
            text = f"This mail cannot be written as a message: {error}."
            raise web.HTTPConflict(text=text) from None
        return downloads.attachment(
            message, len(message), f"mail-{mail.number}.eml", content_type=_MESSAGE
        )

    async def _attachment(self, request: web.Request) -> web.Response:
        mail = self._find(int(request.match_info["number"]))
        files = content_of(mail.message).attachments
        place = int(request.match_info["place"])
        if place >= len(files):
            raise web.HTTPNotFound(
                text=f"The mail {mail.number} has no attachment {place}; the first one "
                "is 0."
            )
        file = files[place]
        return downloads.attachment(file.content, len(file.content), file.name)

    async def _delete_all(self, request: web.Request) -> web.Response:
        sent = self._sent()
        return web.json_response({"deleted": 0 if sent is None else sent.clear()})

    async def _deliver(self, request: web.Request) -> web.Response:
        fields = bodies.fields_in(await read_body(request), _MAIL)
        raw = fields.pop("raw", None)
        to = fields.get("to")
        if not isinstance(to, str) or not to:
            raise _bad("'to' must be the address that receives the mail")
        if raw is None:
            if "from" not in fields:
                raise _bad("'from' is missing")
            content = _content_in(fields)
            with _as_refusal():
                message = content.message(time.time()).as_bytes()
        elif isinstance(raw, str) and fields.keys() == {"to"}:
            with _as_refusal():
                message = raw.encode("utf-8", "surrogateescape")
        else:
            raise _bad("'raw' is the whole message, so only 'to' can be beside it")
        return await _status(self._inbound.deliver(to, message))

    async def _bounce(self, request: web.Request) -> web.Response:
        fields = bodies.fields_in(await read_body(request), _BOUNCE)
        reason = fields.pop("reason", _REASON)
        if not isinstance(reason, str):
            raise _bad("'reason' must be a text", _BOUNCE)
        match fields:
            case {"id": int() as number} if len(fields) == 1:
                mail = self._find(number)
                content = content_of(mail.message)
            case {"from": str(), "to": _}:
                content = _content_in(fields)
            case _:
                raise _bad(
                    "a bounce needs the number of a mail as 'id', or 'from' and 'to' "
                    "of one, not both",
                    _BOUNCE,
                )
        with _as_refusal():
            message = content.message(time.time()).as_string()
        return await _status(self._inbound.bounce(content, message, reason))

    def _find(self, number: int) -> SentMail:
        sent = self._sent()
        mail = None if sent is None else sent.find(number)
        if mail is None:
            raise web.HTTPNotFound(text=f"There is no mail {number}.")
        return mail


async def _status(sending: Awaitable[int]) -> web.Response:
    try:
        with _as_refusal():
            return web.json_response({"status": await sending})
    except NotEnabledError as error:
        raise web.HTTPConflict(text=str(error)) from None
    except OSError:
        return web.json_response({"status": 0})


def _describe(mail: SentMail, *, with_content: bool = False) -> dict[str, Any]:
    content = content_of(mail.message)
    return {
        "id": mail.number,
        "sent": mail.sent,
        "to_admins": mail.to_admins,
        "from": content.sender,
        "to": content.to,
        "cc": content.cc,
        "bcc": content.bcc,
        "reply_to": content.reply_to or None,
        "subject": content.subject,
        "body": content.body,
        "html": content.html,
        "amp_html": content.amp_html,
        "headers": content.headers,
        "attachments": [
            {
                "name": file.name,
                "type": file.type,
                "size": len(file.content),
                "content_id": file.content_id,
            }
            | (
                {"content": base64.b64encode(file.content).decode()}
                if with_content
                else {}
            )
            for file in content.attachments
        ],
    }


def _content_in(fields: Mapping[str, Any]) -> Content:
    """Return the mail that a request describes.

    Raises:
        web.HTTPBadRequest: a field has no name or value of a mail.
    """
    values: dict[str, Any] = {}
    for name, value in fields.items():
        field = "sender" if name == "from" else name
        if name in _TEXTS and isinstance(value, str):
            values[field] = value
        elif name in _LISTS and isinstance(value, str):
            values[field] = (value,)
        elif name in _LISTS and isinstance(value, list):
            values[field] = tuple(map(str, value))
        elif name == "attachments" and isinstance(value, list):
            values[field] = tuple(map(_attachment_in, value))
        else:
            known = ", ".join(sorted({*_TEXTS, *_LISTS, "attachments"}))
            raise _bad(
                f"a mail cannot have {name!r} with the value {value!r}; its fields "
                f"are {known}"
            )
    return Content(**values)


def _attachment_in(value: Any) -> Attachment:
    match value:
        case {"name": str() as name, "content": str() as content}:
            try:
                return Attachment(name, base64.b64decode(content, validate=True))
            except ValueError as error:
                raise _bad(f"the content of {name!r} is not Base64: {error}") from None
    raise _bad("an attachment needs 'name', and 'content' in Base64")


@contextlib.contextmanager
def _as_refusal() -> Iterator[None]:
    """Refuse what cannot be in a mail, such as a line break in a header.

    Raises:
        web.HTTPBadRequest: there was a ValueError.
    """
    try:
        yield
    except ValueError as error:
        raise _bad(str(error)) from None


def _bad(what: str, example: str = _MAIL) -> web.HTTPBadRequest:
    text = f"The request cannot be used: {what}. Send for example {example}."
    return web.HTTPBadRequest(text=text)
