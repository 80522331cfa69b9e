"""The mail service: what it keeps, what it logs, and what an SMTP server gets."""

import asyncio
import email
from collections.abc import AsyncIterator, Callable
from email import policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from google.appengine.api import mail_service_pb2 as pb
from google.appengine.runtime import apiproxy_errors

from gae_devserver.mail.sent import SentMails
from gae_devserver.mail.smtp_server import SmtpServer
from gae_devserver.storage.storage import Storage
from tests.helpers.calls import PROJECT, AppRequest, Server, code_of
from tests.helpers.clock import StoppedClock
from tests.helpers.smtp import SmtpSink, smtp_sink
from tests.helpers.tls import Authority

pytestmark = pytest.mark.asyncio

ERRORS = pb.MailServiceError


def mail(**fields: Any) -> Any:
    """Return a mail as the SDK's client sends it."""
    files = [pb.MailAttachment(FileName="ä.csv", Data=b"1;\xff")]
    usual = {
        "Sender": "Ann <ann@example.com>",
        "To": ["Bob <bob@example.com>", "cy@example.com"],
        "Bcc": ["dan@example.com"],
        "Subject": "Grüße",
        "TextBody": "Hällo",
        "HtmlBody": "<b>Hällo</b>",
        "Attachment": files,
    }
    return pb.MailMessage(**usual | fields)


async def send(api: AppRequest, method: str = "Send", **fields: Any) -> None:
    """Send a mail."""
    await api.call("mail", method, mail(**fields))


@pytest_asyncio.fixture
async def sink() -> AsyncIterator[SmtpSink]:
    """An SMTP server."""
    async with smtp_sink() as sink:
        yield sink


async def test_a_mail_is_logged(
    api: AppRequest, caplog: pytest.LogCaptureFixture
) -> None:
    """On one line, with who gets it and what is attached."""
    caplog.set_level("INFO")
    await send(api, Subject="a\r\n12:00:00 forged\x1b[2J")
    (line,) = caplog.messages
    for fact in ("ann@", "bob@", "cy@", "bcc dan@", "ä.csv (3 B)", r"a\r\n12:"):
        assert fact in line
    assert line.isprintable()


async def test_a_forbidden_attachment(server: Server) -> None:
    """It is refused as on App Engine, and nothing is kept."""
    file = pb.MailAttachment(FileName="setup.exe", Data=b"")
    code = await code_of(send(server.request(), Attachment=[file]))
    assert code == ERRORS.INVALID_ATTACHMENT_TYPE
    assert server.services.stub("mail").sent.after(0, 9) == []


async def test_mails_survive_a_restart_but_no_reset(
    make_server: Callable[..., Server], tmp_path: Path
) -> None:
    """With a storage, the next server has them, and goes on counting."""
    subjects = []
    for step in ("first", "second"):
        storage = Storage(tmp_path, PROJECT)
        server = make_server(storage=storage)
        await send(server.request(), Subject=step)
        kept = server.services.stub("mail").sent.after(0, 9)
        subjects.append([(mail.number, mail.message.Subject) for mail in kept])
        if step == "second":
            server.services.clear()
            server.services.flush()
            assert server.services.stub("mail").sent.after(0, 9) == []
        server.services.close()
    assert subjects == [[(1, "first")], [(1, "first"), (2, "second")]]
    storage = Storage(tmp_path, PROJECT)
    assert list(storage.records("mail")) == []
    storage.close()


async def test_a_reset_while_a_mail_is_sent(make_server: Callable[..., Server]) -> None:
    """The mail is not kept, and the app gets an error."""
    sink, waits, goes_on = SmtpSink(), asyncio.Event(), asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        waits.set()
        await goes_on.wait()
        await sink.talk(reader, writer)

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        server = make_server(smtp=SmtpServer("127.0.0.1", port))
        sending = asyncio.create_task(send(server.request()))
        await waits.wait()
        server.services.clear()
        goes_on.set()
        with pytest.raises(apiproxy_errors.RPCFailedError):
            await sending
    assert server.services.stub("mail").sent.after(0, 9) == []


@pytest.mark.parametrize("limit", [{"max_mails": 2}, {"max_bytes": 250}])
async def test_the_oldest_mails_are_dropped(
    tmp_path: Path, limit: dict[str, int]
) -> None:
    """Kept mails have limits for their number and their size, in the storage too."""
    storage = Storage(tmp_path, PROJECT)
    sent = SentMails(StoppedClock(), storage, **limit)
    for _ in range(4):
        sent.add(mail(TextBody="x" * 5, HtmlBody="", Attachment=[]), to_admins=False)
    assert [mail.number for mail in sent.after(0, 9)] == [3, 4]
    storage.flush()
    assert len(list(storage.records("mail"))) == 2
    storage.close()


async def test_an_smtp_server_gets_the_mail(
    make_server: Callable[..., Server], sink: SmtpSink
) -> None:
    """With its text, HTML and files; those of Bcc get it without being named."""
    api = make_server(smtp=SmtpServer("127.0.0.1", sink.port)).request()
    header = pb.MailHeader(name="List-Id", value="<list>")
    await send(api, Header=[header], ReplyTo="eve@example.com")
    addresses = [line.split("<")[1].split(">")[0] for line in sink.recipients]
    assert addresses == ["bob@example.com", "cy@example.com", "dan@example.com"]
    (data,) = sink.messages
    assert b"dan@example.com" not in data
    message = email.message_from_bytes(data, policy=policy.default)
    assert isinstance(message, EmailMessage)
    assert message["Subject"] == "Grüße"
    assert (message["List-Id"], message["Reply-To"]) == ("<list>", "eve@example.com")
    for kind, text in (("plain", "Hällo"), ("html", "<b>Hällo</b>")):
        part = message.get_body((kind,))
        assert part is not None
        assert part.get_content().strip() == text
    (file,) = message.iter_attachments()
    assert (file.get_filename(), file.get_content_type()) == ("ä.csv", "text/csv")
    assert file.get_payload(decode=True) == b"1;\xff"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"Sender": "refused@example.com"}, ERRORS.UNAUTHORIZED_SENDER),
        ({"Cc": ["refused@example.com"]}, ERRORS.BAD_REQUEST),
        ({"Subject": "a\r\nBcc: eve@example.com"}, ERRORS.BAD_REQUEST),
        ({}, ERRORS.INTERNAL_ERROR),
    ],
)
async def test_what_an_smtp_server_does_not_take(
    make_server: Callable[..., Server],
    sink: SmtpSink,
    caplog: pytest.LogCaptureFixture,
    fields: Any,
    code: int,
) -> None:
    """The app gets an error, the log says why, and the mail is not kept."""
    is_down = code == ERRORS.INTERNAL_ERROR
    server = make_server(smtp=SmtpServer("127.0.0.1", 1 if is_down else sink.port))
    assert await code_of(send(server.request(), **fields)) == code
    assert "mail from" in caplog.text
    assert server.services.stub("mail").sent.after(0, 9) == []


async def test_a_password_needs_tls(
    make_server: Callable[..., Server], sink: SmtpSink
) -> None:
    """It is not sent to another machine without TLS, nor is the mail."""
    smtp = SmtpServer("0.0.0.0", sink.port, user="ann", password="secret")
    code = await code_of(send(make_server(smtp=smtp).request()))
    assert (code, sink.messages) == (ERRORS.INTERNAL_ERROR, [])


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
async def test_tls_begins_if_it_is_offered(
    make_server: Callable[..., Server], tmp_path: Path, host: str
) -> None:
    """The certificate must be valid, unless the server is on this machine."""
    tls = Authority(tmp_path).server_context("127.0.0.1")
    async with smtp_sink(tls) as sink:
        api = make_server(smtp=SmtpServer(host, sink.port)).request()
        if host == "127.0.0.1":
            await send(api)
        else:
            assert await code_of(send(api)) == ERRORS.INTERNAL_ERROR
        assert sink.used_tls
        assert len(sink.messages) == (host == "127.0.0.1")


async def test_mail_to_admins_stays_here(
    make_server: Callable[..., Server], sink: SmtpSink
) -> None:
    """Only App Engine knows who the administrators are."""
    server = make_server(smtp=SmtpServer("127.0.0.1", sink.port))
    await send(server.request(), "SendToAdmins", To=[])
    (kept,) = server.services.stub("mail").sent.after(0, 9)
    assert kept.to_admins
    assert sink.messages == []
