"""Creates a task with a client that is made in the way that the path names.

The answer is the task's name, or the error. The app runs on Python 3.8 too.
"""

import asyncio
import functools
import importlib.util
import os
from concurrent import futures

from google.cloud import tasks_v2, tasks_v2beta2, tasks_v2beta3

QUEUE = "projects/{}/locations/{}/queues/default".format(
    os.environ["GOOGLE_CLOUD_PROJECT"], os.environ["LOCATION_ID"]
)
TASK = {"app_engine_http_request": {"relative_uri": "/done"}}
KEY = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")

early = tasks_v2.CloudTasksClient()


def create(client):
    """Create a task."""
    return client.create_task(parent=QUEUE, task=TASK).name


if "CALL_ON_IMPORT" in os.environ:
    create(early)


def of_v2(**options):
    """Create a task with a new client."""
    return create(tasks_v2.CloudTasksClient(**options))


def transport(kind="grpc"):
    """Return a class of transports."""
    return tasks_v2.CloudTasksClient.get_transport_class(kind)


def with_credentials():
    """Use credentials that the app loads."""
    from google.oauth2 import service_account

    load = service_account.Credentials.from_service_account_file
    return of_v2(credentials=load(KEY))


def google_channel(*args, **options):
    """Return a channel to Google."""
    import grpc

    host, credentials = "cloudtasks.googleapis.com:443", grpc.ssl_channel_credentials()
    return grpc.secure_channel(host, credentials)


def in_threads():
    """Use one client, and one of each thread, in many threads."""
    with futures.ThreadPoolExecutor(20) as pool:
        names = set(pool.map(lambda number: create(early), range(40)))
        names |= set(pool.map(lambda number: of_v2(), range(20)))
    assert len(names) == 60
    return names.pop()


async def create_async(library=tasks_v2):
    """Create tasks with an asynchronous client."""
    client = library.CloudTasksAsyncClient()
    calls = [client.create_task(parent=QUEUE, task=TASK) for _ in range(5)]
    return (await asyncio.gather(*calls))[-1].name


def in_asyncio():
    """Make an asynchronous client in the loop of each call."""
    asyncio.run(create_async(tasks_v2beta3))
    return asyncio.run(create_async())


def by_sdk():
    """Add tasks with the SDK."""
    from google.appengine.api import taskqueue
    from google.appengine.ext import deferred

    deferred.defer(print, "deferred")
    added = taskqueue.Queue().add([taskqueue.Task(url="/done") for _ in range(3)])
    assert all(task.was_enqueued for task in added)
    return "{}/tasks/{}".format(QUEUE, taskqueue.add(url="/done").name)


WAYS = {
    "early": lambda: create(early),
    "late": of_v2,
    "v2beta2": lambda: tasks_v2beta2.CloudTasksClient().get_queue(name=QUEUE),
    "v2beta3": lambda: create(tasks_v2beta3.CloudTasksClient()),
    "credentials": with_credentials,
    "key_file": lambda: create(
        tasks_v2.CloudTasksClient.from_service_account_file(KEY)
    ),
    "options": lambda: of_v2(
        client_options={
            "api_endpoint": "https://cloudtasks.us-central1.rep.googleapis.com",
            "credentials_file": KEY,
            "scopes": ["a"],
        }
    ),
    "channel": lambda: of_v2(transport=transport()(channel=google_channel())),
    "channel_maker": lambda: of_v2(
        transport=functools.partial(transport(), channel=google_channel)
    ),
    "rest": lambda: of_v2(transport="rest"),
    "rest_with_key": lambda: of_v2(
        transport=transport("rest")(credentials_file=KEY, host="a.test")
    ),
    "threads": in_threads,
    "asyncio": in_asyncio,
    "sdk": by_sdk,
}


def serve(environ, start_response):
    """Answer a visitor, or a task."""
    name = environ["PATH_INFO"][1:]
    try:
        body = "{} {}".format(
            "done" if name == "done" else WAYS[name](), os.environ["OWN_SITECUSTOMIZE"]
        )
    except Exception as error:  # noqa: BLE001 - the test shows it
        body = repr(error)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body.encode()]


app = serve
if importlib.util.find_spec("google.appengine") is not None:
    from google.appengine.api import wrap_wsgi_app

    app = wrap_wsgi_app(serve, use_deferred=True)
