"""Call the app in this folder as a WSGI server does, with the SDK's stubs behind it.

Prints in JSON what it answered, and what the services held then. A process of its own:
importing an app changes os.environ and the table of services for good.
"""

import importlib
import json
import pickle
import time
from typing import Any
from wsgiref.types import WSGIEnvironment
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

from google.appengine.datastore import datastore_stub_util
from google.appengine.ext import ndb, testbed

from shared.counter import Counter, my_key


def get(url: str) -> dict[str, Any]:
    """GET a URL of the app."""
    environ: WSGIEnvironment = {
        "SCRIPT_NAME": "",
        "PATH_INFO": url,
        "QUERY_STRING": "",
        "HTTP_HOST": "example.appspot.com",
        "SERVER_SOFTWARE": "gunicorn/27.0.1",
    }
    setup_testing_defaults(environ)
    answer: dict[str, Any] = {}

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
        answer["status"] = status
        answer["type"] = dict(headers)["Content-Type"]

    iterable: Any = validator(main.app)(environ, start_response)
    answer["text"] = b"".join(iterable).decode()
    iterable.close()
    return answer


def entities() -> list[str]:
    """Return the key of each entity in the datastore."""
    return [str(key.flat()) for key in ndb.Query().fetch(keys_only=True)]


def tasks(since: float) -> list[dict[str, Any]]:
    """Return the tasks of all queues; `delay` is in seconds after `since`."""
    stub = services.get_stub(testbed.TASKQUEUE_SERVICE_NAME)
    found = []
    for queue in (queue["name"] for queue in stub.GetQueues()):
        for task in stub.get_filtered_tasks(queue_names=queue):
            function, arguments, _ = pickle.loads(task.payload)
            found.append(
                {
                    "queue": queue,
                    "url": task.url,
                    "method": task.method,
                    "delay": task.eta_posix - since,
                    "function": f"{function.__module__}.{function.__name__}",
                    "arguments": arguments,
                    "protocol 0": task.payload.startswith(b"("),
                }
            )
    return found


main = importlib.import_module("main")
services = testbed.Testbed()
services.activate()
services.init_datastore_v3_stub(
    consistency_policy=datastore_stub_util.PseudoRandomHRConsistencyPolicy(
        probability=1
    )
)
services.init_memcache_stub()
services.init_taskqueue_stub()

seen: dict[str, Any] = {"first": get("/counter/get"), "written": entities()}
Counter(id=my_key, count=7).put()
seen["second"] = get("/counter/get")
seen["no tasks"] = tasks(0)
before = time.time()
seen["increment"] = get("/counter/increment")
seen["tasks"] = tasks(before)
seen["entities"] = entities()
print(json.dumps(seen))
