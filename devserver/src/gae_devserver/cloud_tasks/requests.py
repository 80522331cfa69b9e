"""The requests that send Cloud Tasks: to the app, or to an HTTP target."""

import time
from typing import Any

from multidict import CIMultiDict

from gae_devserver.app.client import Request
from gae_devserver.cloud_tasks.identity import Identity
from gae_devserver.cloud_tasks.messages import HttpMethod, Task
from gae_devserver.cloud_tasks.queue_targets import apply_target
from gae_devserver.tasks import headers
from gae_devserver.tasks.attempts import server_errors
from gae_devserver.tasks.queues import Queue

_USER_AGENT = "Google-Cloud-Tasks"
_NOT_OWN = ("x-google-", "x-appengine-", "x-cloudtasks-", "user-agent")


def make_request(
    identity: Identity, queue: Queue, task: Any, service: str, offset: float
) -> Request:
    """Return the request for a task of Cloud Tasks, or of the bundled API.

    The target is a path in the app, or the URL of an HTTP target. The clock of the
    server is `offset` seconds ahead of the app's.

    Raises:
        ConnectionError: the URL of an HTTP target is invalid.
    """
    if not task.HasField("description"):
        return headers.task_request(queue, task, service, offset)
    sent = Task.FromString(task.description)
    if sent.HasField("http_request"):
        if queue.config.settings is not None:
            apply_target(queue.config.settings, sent.http_request)
        return _http_request(identity, queue, task, offset, sent.http_request)
    request = sent.app_engine_http_request
    return headers.app_engine_request(
        queue,
        task,
        service,
        offset,
        method=_method(request),
        url=task.url,
        headers=request.headers.items(),
        body=task.body or None,
    )


def _http_request(
    identity: Identity, queue: Queue, task: Any, offset: float, request: Any
) -> Request:
    """Return the request to an HTTP target.

    Source: "Create HTTP task handlers" in the documentation of Cloud Tasks.
    """
    own = headers.own_headers(request.headers.items(), _NOT_OWN)
    sent = CIMultiDict(own)
    if request.HasField("oidc_token"):
        token = request.oidc_token
        signed = identity.token(
            token.service_account_email,
            token.audience or request.url,
            # not the server's clock, which is not the one that the target has
            time.time(),
        )
        sent["Authorization"] = f"Bearer {signed}"
    sent["User-Agent"] = _USER_AGENT
    sent.extend(
        headers.attempt_headers(
            "X-CloudTasks-",
            queue,
            task,
            offset,
            # "This number does not include failures due to 5XX error codes"
            executions=task.execution_count - server_errors(task),
            # production sends it without a value
            retry_reason="",
        )
    )
    method = _method(request)
    # the queue may have made it a GET
    body = None if method == "GET" else task.body or None
    return Request(method, request.url, sent, body)


def _method(request: Any) -> str:
    """Return the HTTP method of a target."""
    return str(HttpMethod(request.http_method).name)
