"""Call the app in this folder as a WSGI server does, with the SDK's stubs behind it.

Prints in JSON what it answered and deferred. It needs a process of its own: importing
an app changes os.environ and the table of services for good.
"""

import base64
import importlib
import json
import time
from typing import Any
from wsgiref.types import WSGIEnvironment
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

from google.appengine.datastore import datastore_stub_util
from google.appengine.ext import ndb, testbed

main = importlib.import_module("main")


def get(url: str, **headers: str) -> list[str]:
    """GET a URL of the app; return the status and the text."""
    environ: WSGIEnvironment = {
        "SCRIPT_NAME": "",
        "PATH_INFO": url,
        "QUERY_STRING": "",
        "HTTP_HOST": "example.appspot.com",
        "SERVER_SOFTWARE": "gunicorn/27.0.1",
        **headers,
    }
    setup_testing_defaults(environ)
    answer: list[str] = []

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
        answer.append(status)

    iterable: Any = validator(main.app)(environ, start_response)
    answer.append(b"".join(iterable).decode())
    iterable.close()
    return answer


services = testbed.Testbed()
services.activate()
policy = datastore_stub_util.PseudoRandomHRConsistencyPolicy(probability=1)
services.init_datastore_v3_stub(consistency_policy=policy)
services.init_memcache_stub()
services.init_taskqueue_stub()

before = time.time()
seen: dict[str, Any] = {
    "count": get("/counter/get"),
    "increment": get("/counter/increment"),
    "get of a handler": get("/_ah/queue/deferred"),
    "forged": get("/", HTTP_X_APPENGINE_REMOTE_ADDR="0.1.0.2"),
    "entities": ndb.Query().count(),
    "tasks": [
        {
            "url": task.url,
            "method": task.method,
            "host": task.headers["Host"],
            "delay": task.eta_posix - before,
            "payload": base64.b64encode(task.payload).decode(),
        }
        for task in services.get_stub(
            testbed.TASKQUEUE_SERVICE_NAME
        ).get_filtered_tasks(queue_names="default")
    ],
}
print(json.dumps(seen))
