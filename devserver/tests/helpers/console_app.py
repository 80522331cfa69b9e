"""Calls functions of the app tests/apps/console."""

import json
from typing import Any
from urllib.parse import urlencode

from gae_devserver.testing import DevServer
from tests.helpers.forms import FORM, Part, form


def call(server: DevServer, function: str, *args: object, **kwargs: object) -> Any:
    """Call a function of the app; return its result."""
    query = {"args": json.dumps(args), "kwargs": json.dumps(kwargs)}
    answer = server.get(f"/call/{function}?{urlencode(query)}")
    assert answer.status == 200, answer.text
    return json.loads(answer.text)


def upload(server: DevServer, content: bytes, name: str, content_type: str) -> None:
    """Store a file as a blob."""
    body = form(Part(content, name, content_type))
    assert server.post(call(server, "upload_url"), body, FORM).status == 200
