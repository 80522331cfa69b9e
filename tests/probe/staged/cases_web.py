"""Calls of blobstore, mail and users."""

import re
from typing import Any

from google.appengine.api import images, mail, urlfetch, users
from google.appengine.api.blobstore import blobstore as api
from google.appengine.ext import blobstore

NOTHING = "nothing"
FORM = (
    b"--edge\r\nContent-Type: text/plain\r\n"
    b'Content-Disposition: form-data; name="file"; filename="a b.txt"\r\n\r\n'
    b"one\ntwo\n\r\n--edge--\r\n"
)
FROM, TO = "me@example.com", "you@example.com"


def path_of(url: str) -> str:
    """Return a URL without its host."""
    return re.sub("^https?://[^/]*", "", url)


def upload(*args: Any, **options: Any) -> str:
    """Make an upload URL; return its path, with a digit for the session."""
    path = path_of(blobstore.create_upload_url(*args, **options))
    return path.rpartition("/")[0]


def uploaded() -> blobstore.BlobInfo:
    """Upload a file; return what is stored of it."""
    url = blobstore.create_upload_url("/probe/cases")
    headers = {"Content-Type": "multipart/form-data; boundary=edge"}
    answer = urlfetch.fetch(url, FORM, "POST", headers, deadline=30)
    assert answer.status_code == 200, answer.status_code
    return blobstore.BlobInfo.all().order("-creation").get()


def read() -> Any:
    """Read a blob in each way."""
    info = uploaded()
    reader = info.open()
    return (
        blobstore.fetch_data(info, 1, 3),
        blobstore.fetch_data(info.key(), 5, 99),
        blobstore.fetch_data(info, 50, 60),
        reader.readline(),
        reader.read(2),
        reader.seek(-1, 2),
        reader.read(),
    )


def deleted() -> Any:
    """Delete a blob; return what is then there."""
    info = uploaded()
    info.delete()
    return blobstore.get(info.key()), blobstore.fetch_data(info.key(), 0, 1)


def sent(**options: Any) -> Any:
    """Send a mail."""
    message = {"sender": FROM, "to": TO, "subject": "s", "body": "b", **options}
    return mail.EmailMessage(**message).send()


def gs(name: Any) -> Any:
    """Make a blob key for a file of Cloud Storage."""
    return blobstore.create_gs_key(name)[:15]


BLOBSTORE: dict[str, Any] = {
    "create_upload_url": lambda: upload("/done"),
    "create_upload_url unicode": lambda: upload("/grün"),
    "create_upload_url limits": lambda: upload(
        "/done", max_bytes_per_blob=10, max_bytes_total=20
    ),
    "create_upload_url bucket": lambda: upload("/done", gs_bucket_name="bucket"),
    "create_upload_url bucket empty": lambda: upload("/done", gs_bucket_name=""),
    "create_upload_url async": lambda: (
        len(blobstore.create_upload_url_async("/done").get_result()) > 9
    ),
    "upload": lambda: [
        info := uploaded(),
        (info.filename, info.content_type, info.size, info.md5_hash),
    ],
    "read": read,
    "delete": deleted,
    "serving url": lambda: path_of(images.get_serving_url(uploaded(), size=32))[:9],
    "fetch_data long key": lambda: blobstore.fetch_data("x" * 2000, 0, 1),
    "delete missing": lambda: blobstore.delete(NOTHING),
    "delete async": lambda: blobstore.delete_async(NOTHING).get_result(),
    "fetch_data missing": lambda: blobstore.fetch_data(NOTHING, 0, 10),
    "fetch_data empty": lambda: blobstore.fetch_data("", 0, 1),
    "delete empty": lambda: blobstore.delete(""),
    "fetch_data async": lambda: api.fetch_data_async(NOTHING, 0, 1).get_result(),
    "get missing": lambda: blobstore.get(NOTHING),
    "get many missing": lambda: blobstore.BlobInfo.get([NOTHING, NOTHING]),
    "all": lambda: len(blobstore.BlobInfo.all().fetch(5)),
    "gql": lambda: blobstore.BlobInfo.gql("WHERE filename = :1", "none").get(),
    "reader missing": lambda: blobstore.BlobReader(NOTHING).read(5),
    "create_gs_key": lambda: gs("/gs/bucket/object"),
    "create_gs_key unicode": lambda: gs("/gs/bucket/grün"),
    "create_gs_key async": lambda: (
        len(blobstore.create_gs_key_async("/gs/b/o").get_result()) > 5
    ),
    "get_serving_url missing": lambda: path_of(images.get_serving_url(NOTHING)),
    "delete_serving_url missing": lambda: images.delete_serving_url(NOTHING),
}

MAIL: dict[str, Any] = {
    "send_mail": lambda: mail.send_mail(FROM, TO, "s", "b"),
    "send": sent,
    "send_mail_to_admins": lambda: mail.send_mail_to_admins(FROM, "s", "b"),
    "unicode": lambda: sent(subject="grün", body="grün ☃", sender="Grün <a@b.c>"),
    "html alone": lambda: mail.EmailMessage(
        sender=FROM, to=TO, subject="s", html="<b>b</b>"
    ).send(),
    "amp": lambda: sent(html="<b>b</b>", amp_html="<b>b</b>"),
    "many": lambda: sent(to=[TO, TO], cc=TO, bcc=[TO], reply_to=FROM),
    "bcc alone": lambda: mail.EmailMessage(
        sender=FROM, bcc=TO, subject="s", body="b"
    ).send(),
    "headers": lambda: sent(headers={"In-Reply-To": "<1@example.com>"}),
    "attachment": lambda: sent(attachments=[("a.txt", b"data")]),
    "attachment unicode": lambda: sent(attachments=[("grün.txt", "grün".encode())]),
    "attachment without extension": lambda: sent(attachments=[("a", b"data")]),
    "attachment 1 MB": lambda: sent(attachments=[("a.txt", b"x" * 1_000_000)]),
    "sender bad": lambda: sent(sender="nobody"),
    "subject with line end": lambda: sent(subject="a\nb"),
}

USERS: dict[str, Any] = {
    "create_login_url": lambda: path_of(users.create_login_url("/"))[:13],
    "create_login_url unicode": lambda: len(users.create_login_url("/grün?a=b")) > 9,
    "create_login_url long": lambda: path_of(users.create_login_url("/" + "x" * 3000))[
        :13
    ],
    "create_logout_url": lambda: path_of(users.create_logout_url("/"))[:14],
}

GROUPS = {"blobstore": BLOBSTORE, "mail": MAIL, "users": USERS}
