"""The requests that send Cloud Tasks."""

import base64
import functools
import json
import time
from typing import Any

import pytest
from google.cloud.tasks_v2 import types

from gae_devserver.app.client import Request
from gae_devserver.cloud_tasks.identity import Identity
from gae_devserver.cloud_tasks.requests import make_request
from gae_devserver.cloud_tasks.tasks import stub_task
from gae_devserver.tasks.queues import Queue
from tests.helpers.recording_app import Execution, Outcome
from tests.unit.conftest import Bench, MakeBench

ETA = 1_700_000_000


def sent(**target: Any) -> Any:
    """Return a task of Cloud Tasks."""
    return types.Task.pb(types.Task(**target))


def request_for(
    queue: Queue, offset: float = 0, retries: int = 0, **target: Any
) -> Request:
    """Return the request for a task that is due at `ETA` in the app's time."""
    stored = stub_task(sent(**target), "a", ETA + offset, offset, queue)
    stored.retry_count = retries
    if retries:
        stored.runlog.response_code = 404
    return make_request(Identity(), queue, stored, "default", offset)


@pytest.fixture
def queue(bench: Bench) -> Queue:
    """The default queue."""
    return bench.queue()


FORGED = {
    "Host": "worker.example",
    "Content-Length": "5",
    "Transfer-Encoding": "chunked",
    "X-AppEngine-QueueName": "forged",
    "X_AppEngine_User_Is_Admin": "1",
    "X-AppEngine-Current-Namespace": "tenant",
    "X-Google-Real-IP": "127.0.0.1",
}


@pytest.mark.parametrize(
    ("fields", "method", "target"),
    [
        ({}, "POST", "/"),
        (
            {"http_method": "PATCH", "relative_uri": "/ü?a=%20"},
            "PATCH",
            "/%C3%BC?a=%20",
        ),
        ({"http_method": "OPTIONS", "relative_uri": "//x#y"}, "OPTIONS", "//x#y"),
    ],
)
@pytest.mark.asyncio
async def test_the_line_of_a_request_to_the_app(
    queue: Queue, fields: dict[str, Any], method: str, target: str
) -> None:
    """The bundled API has neither PATCH nor OPTIONS."""
    request = request_for(queue, app_engine_http_request=fields)
    assert (request.method, request.target, request.body) == (method, target, None)


@pytest.mark.asyncio
async def test_the_headers_of_a_request_to_the_app(queue: Queue) -> None:
    """They are those of a bundled task; no forged header arrives."""
    fields = {"headers": {**FORGED, "X-Own": "é", "user-agent": "mine"}, "body": b"x"}
    request = request_for(queue, 1000, 2, app_engine_http_request=fields)
    assert dict(request.headers) == {
        "X-Own": "é",
        "Content-Type": "application/octet-stream",
        "User-Agent": "mine AppEngine-Google; (+http://code.google.com/appengine)",
        "X-AppEngine-QueueName": "default",
        "X-AppEngine-TaskName": "a",
        "X-AppEngine-TaskRetryCount": "2",
        "X-AppEngine-TaskExecutionCount": "0",
        "X-AppEngine-TaskETA": f"{ETA}.000000",
        "X-AppEngine-TaskPreviousResponse": "404",
        "X-AppEngine-TaskRetryReason": "App Error",
    }
    assert request.body == b"x"


@pytest.mark.asyncio
async def test_a_request_to_an_http_target(queue: Queue) -> None:
    """It has the headers of Cloud Tasks, no forged one, and no Content-Type."""
    forged = {**FORGED, "X-CloudTasks-TaskName": "forged", "User-Agent": "forged"}
    fields = {
        "url": "http://localhost/x",
        "headers": {**forged, "X-Own": "1", "Authorization": "Basic x"},
        "body": b"x",
    }
    request = request_for(queue, 1000, 2, http_request=fields)
    assert (request.method, request.target) == ("POST", "http://localhost/x")
    assert dict(request.headers) == {
        "X-Own": "1",
        "Authorization": "Basic x",
        "User-Agent": "Google-Cloud-Tasks",
        "X-CloudTasks-QueueName": "default",
        "X-CloudTasks-TaskName": "a",
        "X-CloudTasks-TaskRetryCount": "2",
        "X-CloudTasks-TaskExecutionCount": "0",
        "X-CloudTasks-TaskETA": f"{ETA}.000000",
        "X-CloudTasks-TaskPreviousResponse": "404",
        "X-CloudTasks-TaskRetryReason": "",
    }


@pytest.mark.asyncio
async def test_the_attempts_of_an_http_target(make_bench: MakeBench) -> None:
    """Executions leave out those with a status of 5XX, also the 504 of a deadline."""
    bench = make_bench(make_request=functools.partial(make_request, Identity()))
    attempts: list[tuple[str, str | None]] = []

    def answer(execution: Execution) -> Outcome:
        headers = execution.headers
        previous = headers.get("x-cloudtasks-taskpreviousresponse")
        attempts.append((headers["x-cloudtasks-taskexecutioncount"], previous))
        return outcomes[len(attempts) - 1]

    outcomes: list[Outcome] = [503, TimeoutError(), 404, 500, 302, 200]
    bench.app.answer = answer
    queue, task = bench.queue(), sent(http_request={"url": "http://localhost/x"})
    queue.add(stub_task(task, "a", bench.clock.now(), 0, queue))
    await bench.runner.advance(60)
    assert attempts == [
        ("0", None),
        ("0", "503"),
        ("0", "504"),
        ("1", "404"),
        ("1", "500"),
        ("2", "302"),
    ]


@pytest.mark.parametrize(
    ("target", "seconds", "deadline"),
    [
        ({"http_request": {"url": "http://localhost/"}}, 1800, 1800),
        ({"http_request": {"url": "http://localhost/"}}, None, 600),
        ({"app_engine_http_request": {}}, 1800, 600),
        ({"app_engine_http_request": {}}, 15, 15),
    ],
)
@pytest.mark.asyncio
async def test_the_deadline(
    bench: Bench, target: dict[str, Any], seconds: float | None, deadline: float
) -> None:
    """The server's deadline is that of the app; an HTTP target has its own alone."""
    task = sent(**target)
    if seconds is not None:
        task.dispatch_deadline.seconds = seconds
    queue = bench.queue()
    queue.add(stub_task(task, "a", bench.clock.now(), 0, queue))
    await bench.runner.advance(0)
    assert [execution.deadline for execution in bench.app.executions] == [deadline]


@pytest.mark.parametrize("audience", ["", "https://a.test"])
@pytest.mark.asyncio
async def test_the_token_for_an_http_target(queue: Queue, audience: str) -> None:
    """It replaces the task's own; its times are real, and the URL is its audience."""
    url = "http://localhost/x"
    fields = {
        "url": url,
        "headers": {"authorization": "own"},
        "oidc_token": {"service_account_email": "a@b.test", "audience": audience},
    }
    request = request_for(queue, 10**6, http_request=fields)
    (authorization,) = request.headers.getall("Authorization")
    payload = authorization.removeprefix("Bearer ").split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    assert (claims["email"], claims["aud"]) == ("a@b.test", audience or url)
    assert 0 <= time.time() - claims["iat"] < 60
