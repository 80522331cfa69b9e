"""Mail of an app that uses the SDK, and mail to it."""

import base64
import json
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from gae_devserver.testing import Attachment, DevServer, Mail, StateApiError
from tests.helpers.app_folder import make_app
from tests.helpers.command import OWN_PYTHON

PAGE = (Path(__file__).parents[3] / "docs/state-api.md").read_text()
MAIN = """\
import json

from google.appengine.api import mail, wrap_wsgi_app


def show(**values):
    print("received", json.dumps(values), flush=True)


def answer(environ, start_response):
    path, status = environ["PATH_INFO"], "200 OK"
    if path == "/send":
        files = [("a.txt", b"file")]
        more = {"reply_to": "r@example.com", "html": "<p>", "attachments": files}
        more |= {"cc": "c@example.com", "bcc": ["d@example.com"]}
        mail.send_mail("a@example.com", "b@example.com", "One", "Text", **more)
        mail.send_mail_to_admins("a@example.com", "Two", "Text")
    elif path.startswith("/_ah/mail/"):
        got = mail.InboundEmailMessage.from_environ(environ)
        texts = [text.decode() for _, text in got.bodies("text/plain")]
        files = [[file.filename, file.payload.decode().decode()]
                 for file in getattr(got, "attachments", [])]
        show(path=path, sender=got.sender, to=got.to, subject=got.subject, texts=texts,
             files=files, ip=environ["REMOTE_ADDR"], type=environ["CONTENT_TYPE"])
        status = "202 Accepted"
    elif path == "/_ah/bounce":
        got = mail.BounceNotification.from_environ(environ)
        show(original=got.original, notification=got.notification,
             raw=got.original_raw_message.subject)
    start_response(status, [("Content-Type", "text/plain")])
    return []


app = wrap_wsgi_app(answer)
"""
APIS = "app_engine_apis: true\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    """A server whose app sends and receives mail."""
    app_yaml = f"{APIS}inbound_services: [mail, mail_bounce]\n"
    folder = make_app(tmp_path_factory.mktemp("work") / "app", MAIN, app_yaml)
    with DevServer(folder, OWN_PYTHON) as server:
        yield server


def received(server: DevServer) -> Any:
    """Return what the app has received since the last reset."""
    return json.loads(server.wait_for_log(r"received (.*)$")[1])


def test_what_the_app_sends(server: DevServer) -> None:
    """The State API shows mails in pages, and a reset drops them."""
    server.reset()
    assert server.get("/send").status == 200
    one, two = server.mails()
    file = Attachment("a.txt", "text/plain", b"file")
    fields: dict[str, Any] = {"to": ["b@example.com"], "cc": ["c@example.com"]}
    fields |= {"bcc": ["d@example.com"], "reply_to": "r@example.com", "html": "<p>"}
    fields |= {"subject": "One", "body": "Text", "attachments": [file]}
    assert one == Mail(sender="a@example.com", to_admins=False, **fields)
    assert (two.subject, two.to, two.to_admins) == ("Two", [], True)
    page = server.state("GET", "/mails?limit=1")
    documented = PAGE.partition("### Fields of a mail\n")[2].partition("\n## ")[0]
    for name in page["mails"][0]:
        assert f"`{name}`" in documented
    assert (page["mails"][0]["subject"], page["cursor"]) == ("One", "1")
    (last,) = server.state("GET", "/mails?limit=1&cursor=1")["mails"]
    assert last["subject"] == "Two"
    server.reset()
    assert server.mails() == []


def test_mail_for_the_app(server: DevServer) -> None:
    """The SDK parses it, from fields or from a whole message."""
    server.reset()
    fields = {"from": "é <e@example.com>", "subject": "Grüße", "body": "Hällo\n"}
    content = base64.b64encode(b"file").decode()
    files = [{"name": "a.txt", "content": content}]
    mail = {"to": "in+1@x.org", "attachments": files, **fields}
    assert server.state("POST", "/mails/in", mail) == {"status": 202}
    got = received(server)
    assert (got["path"], got["to"]) == ("/_ah/mail/in+1@x.org", "in+1@x.org")
    assert " ".join(got["sender"].split()) == fields["from"]
    assert got["subject"] == "Grüße"
    assert ([text.strip() for text in got["texts"]], got["files"]) == (
        ["Hällo"],
        [["a.txt", "file"]],
    )
    assert (got["ip"], got["type"]) == ("0.1.0.20", "message/rfc822")
    server.reset()
    message = EmailMessage()
    message["From"], message["To"] = "e@example.com", "in@x.org"
    message["Subject"] = "Raw"
    message.set_content("Text")
    assert server.receive_mail("in@x.org", message=bytes(message)) == 202
    assert received(server)["subject"] == "Raw"
    server.reset()
    server.receive_mail("in@x.org", subject="Usual")
    assert received(server)["subject"] == "Usual"
    server.wait_for_log("POST /_ah/mail/in%40x.org 202")


def test_a_bounce(server: DevServer) -> None:
    """The app is told about a mail that it has sent, or about any other."""
    server.reset()
    server.get("/send")
    assert server.state("POST", "/mails/bounce", {"id": 1}) == {"status": 200}
    got = received(server)
    assert (got["original"]["to"], got["raw"]) == ("b@example.com", "One")
    assert got["notification"]["to"] == "a@example.com"
    server.reset()
    mail = {"from": "a@x.org", "to": ["b@x.org"], "subject": "ä", "reason": "full"}
    server.state("POST", "/mails/bounce", mail)
    got = received(server)
    assert (got["original"]["subject"], got["notification"]["text"]) == ("ä", "full")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("in", []),
        ("in", {"from": "a@x.org"}),
        ("in", {"to": "b@x.org"}),
        ("in", {"to": ["b@x.org"], "from": "a@x.org"}),
        ("in", {"to": "b@x.org", "from": "a@x.org", "sbject": "x"}),
        ("in", {"to": "b@x.org", "from": "a@x.org", "subject": "a\nb"}),
        ("in", {"to": "b@x.org", "raw": "x", "body": "x"}),
        ("in", {"to": "b@x.org", "from": "a@x.org", "attachments": [{"name": "a"}]}),
        ("in", {"to": "b@x.org", "from": "a@x.org", "body": "\ud800"}),
        ("in", {"to": "\udc80", "raw": "x"}),
        ("in", {"to": "b@x.org", "raw": "\ud800"}),
        ("bounce", {"from": "a@x.org", "to": "b@x.org", "reason": "\ud800"}),
        ("bounce", {}),
        ("bounce", {"id": 1, "to": "b@x.org"}),
    ],
)
def test_a_request_that_describes_no_mail(
    server: DevServer, path: str, body: object
) -> None:
    """It is refused, and the app gets nothing."""
    server.reset()
    with pytest.raises(StateApiError) as refused:
        server.state("POST", f"/mails/{path}", body)
    assert refused.value.status == 400
    assert "received" not in server.log()


def test_mail_through_an_smtp_server(tmp_path: Path) -> None:
    """The option names the server; the app gets its error."""
    folder = make_app(tmp_path / "app", MAIN, APIS)
    with DevServer(folder, OWN_PYTHON, "--smtp-host=127.0.0.1:1") as server:
        assert server.get("/send").status == 500
        server.wait_for_log(r"error: mail from .* 127\.0\.0\.1:1 ")
        assert server.mails() == []


def test_an_app_without_inbound_services(tmp_path: Path) -> None:
    """The answer says what app.yaml must say."""
    app_yaml = f"{APIS}inbound_services: [warmup]\n"
    folder = make_app(tmp_path / "app", MAIN, app_yaml)
    with DevServer(folder, OWN_PYTHON) as server:
        with pytest.raises(StateApiError, match=r"\[mail, warmup\]") as error:
            server.receive_mail("in@x.org", sender="a@x.org")
        bounce = {"from": "a@x.org", "to": "b@x.org"}
        with pytest.raises(StateApiError, match="mail_bounce"):
            server.state("POST", "/mails/bounce", bounce)
    assert error.value.status == 409
