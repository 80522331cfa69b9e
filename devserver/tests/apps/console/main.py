"""An app whose functions a test calls, to give the console something to show.

GET /call/NAME?args=[...] calls a function of this module with these arguments in JSON,
and answers with its result. Any other path is 404.
"""

import datetime
import json
import logging
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qs, urlsplit
from wsgiref.types import StartResponse, WSGIEnvironment

from google.appengine.api import (
    mail,
    memcache,
    search,
    taskqueue,
    users,
    wrap_wsgi_app,
)
from google.appengine.ext import blobstore, deferred, ndb


class Item(ndb.Model):
    """What `put` stores."""

    text = ndb.StringProperty()


def defer(name: str, *args: Any, **options: Any) -> str:
    """Defer a function of this module; return the name of the task."""
    task_name: str = deferred.defer(globals()[name], *args, **options).name
    return task_name


def defer_in_transaction(name: str, *args: Any) -> str:
    """Defer a function of this module at a commit; return the name of the task."""
    task_name: str = ndb.transaction(lambda: defer(name, *args, _transactional=True))
    return task_name


def defer_many(count: int, first: float, step: float, queue: str = "default") -> None:
    """Defer `work` many times, the first one in `first` seconds."""
    tasks = [
        taskqueue.Task(
            payload=deferred.serialize(work, number),
            url="/_ah/queue/deferred",
            countdown=first + number * step,
        )
        for number in range(count)
    ]
    for start in range(0, count, 100):
        taskqueue.Queue(queue).add(tasks[start : start + 100])


def work(label: object = "") -> None:
    """Do nothing, as a task."""
    logging.getLogger("app").info("work %s", label)


def explode(text: str = "boom") -> None:
    """Fail."""
    raise ValueError(text)


def give_up(text: str = "no use") -> None:
    """Fail for good."""
    raise deferred.PermanentTaskFailure(text)


def put(text: str, count: int = 1) -> None:
    """Store entities."""
    ndb.put_multi([Item(text=text) for _ in range(count)])


def find(kind: str, *orders: str) -> list[str]:
    """Return the texts of entities in the order of properties."""
    names = map(ndb.GenericProperty, orders)
    return [item.text for item in ndb.Query(kind=kind).order(*names)]


def read_one_by_one(text: str, count: int) -> None:
    """Read entities in as many calls, which one call could do."""
    for number in range(count):
        key = ndb.Key(Item, text, Item, number + 1)
        key.get(use_cache=False, use_memcache=False)


def remember(
    key: str, value: Any, namespace: str | None = None, seconds: int = 0
) -> None:
    """Put a value into memcache."""
    memcache.set(key, value, time=seconds, namespace=namespace)


def recall(key: str) -> Any:
    """Get a value from memcache."""
    return memcache.get(key)


def send_mail(subject: str, html: str, file: str, repeated: int = 1) -> None:
    """Send a mail with an attachment."""
    mail.send_mail(
        "a@example.com",
        ["b@example.com"],
        subject,
        "Text",
        html=html * repeated,
        attachments=[(file, b"content")],
    )


def add_documents(index: str, text: str, count: int = 1) -> None:
    """Put documents into an index of the Search API."""
    found = search.Index(index)
    for number in range(count):
        fields = [
            search.TextField("title", text),
            search.NumberField("price", number),
            search.DateField("day", datetime.date(2026, 1, 2)),
        ]
        found.put(search.Document(f"doc{number:03}", fields, rank=number))


def upload_url() -> str:
    """Return the path for uploads, whose form `/call/uploaded` gets."""
    return urlsplit(blobstore.create_upload_url("/call/uploaded")).path


def uploaded() -> None:
    """Take the form of an upload."""


def who() -> Any:
    """Return who is signed in, and whether as an administrator."""
    user = users.get_current_user()
    return user and [user.email(), users.is_current_user_admin()]


def serve(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Call the function that the path names."""
    _, where, name = (environ["PATH_INFO"] + "//").split("/", 2)
    function = globals().get(name.strip("/"))
    if where != "call" or function is None:
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"There is nothing here.\n"]
    query = parse_qs(environ["QUERY_STRING"])
    args, kwargs = (
        json.loads(query.get(field, [default])[0])
        for field, default in (("args", "[]"), ("kwargs", "{}"))
    )
    result = function(*args, **kwargs)
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(result).encode()]


app = wrap_wsgi_app(serve, use_deferred=True)
