"""One execution of a task: the request to the app, and what its answer means."""

import asyncio
import logging
import re
from typing import Any

import pytest
from google.appengine.api import queueinfo
from google.appengine.api.taskqueue import taskqueue_service_bytes_pb2 as pb

from gae_devserver.config.queue_yaml import QueueConfig
from tests.helpers.calls import HOSTNAME, add_request
from tests.helpers.recording_app import Execution
from tests.unit.conftest import Bench, MakeBench

pytestmark = pytest.mark.asyncio


# --- what the app gets ---------------------------------------------------------------


async def test_a_task_arrives_as_it_was_added(bench: Bench) -> None:
    """Method, target, headers and body arrive; invalid bytes of a URL are encoded.

    The value of a header is UTF-8, or else Latin-1.
    """
    request = add_request(
        "a",
        method=pb.TaskQueueAddRequest.PUT,
        url="/ü x".encode() + b"\xff?a=1&b=%20",
        body=b"\x00\xff" * 10,
        headers=[("Content-Type", "a/b"), ("X-Own", "1"), ("X-Own", "é")],
        now=bench.clock.start,
    )
    request.header.add(key=b"X-Own", value="ü".encode("latin-1"))
    await bench.api.bulk_add([request])
    await bench.runner.advance(0)
    (execution,) = bench.app.executions
    assert execution.method == "PUT"
    assert execution.target == "/%C3%BC%20x%FF?a=1&b=%20"
    assert execution.body == b"\x00\xff" * 10
    own = [("X-Own", value) for value in ("1", "é", "ü")]
    assert execution.header_list[:4] == (("Content-Type", "a/b"), *own)


async def test_a_task_without_a_body_has_no_type(bench: Bench) -> None:
    """As with dev_appserver.py, only a body gets a default content type."""
    request = add_request(now=bench.clock.start)
    request.ClearField("body")
    await bench.api.bulk_add([request])
    await bench.runner.advance(0)
    assert "content-type" not in bench.app.executions[0].headers


async def test_the_api_has_the_attempts_and_the_last_status(bench: Bench) -> None:
    """QueryTasks tells how often a task has run, and how the last attempt ended."""
    bench.app.answers(500, 404)
    await bench.add("a")
    await bench.runner.advance(0.1)
    (task,) = await bench.api.tasks()
    assert (task.retry_count, task.execution_count) == (2, 2)
    assert task.runlog.response_code == 404


async def test_the_headers_of_a_task(bench: Bench) -> None:
    """A task's headers describe it, with the ETA that the app has asked for.

    Of the task's own X-AppEngine headers, only the namespace arrives; HTTP's own
    headers are dropped too. App Engine's own name follows the task's User-Agent.
    """
    await bench.runner.advance(1000)
    await bench.add(
        "a",
        -5,
        headers=[
            ("X-AppEngine-Current-Namespace", "tenant"),
            ("X-AppEngine-QueueName", "forged"),
            ("X-AppEngine-TaskRetryCount", "99"),
            ("X-AppEngine-User-IP", "127.0.0.1"),
            ("x_appengine_user_is_admin", "1"),
            ("X-Appengine-Api-Ticket", "stolen"),
            ("Host", f"default.{HOSTNAME}"),
            ("Content-Length", "5"),
            ("Transfer-Encoding", "chunked"),
            ("Expect", "100-continue"),
            ("SCRIPT_NAME", "/elsewhere"),
            ("X-Google-Real-IP", "127.0.0.1"),
            ("X-Own", "stays"),
            ("User-Agent", "mine/1"),
        ],
    )
    await bench.runner.advance(0)
    (execution,) = bench.app.executions
    # each name once: nothing forged is beside the server's own headers
    assert len(execution.header_list) == len(execution.headers)
    eta = execution.headers["x-appengine-tasketa"]
    assert float(eta) == bench.clock.start - 5
    assert execution.headers == {
        "content-type": "application/octet-stream",
        "x-appengine-current-namespace": "tenant",
        "x-appengine-queuename": "default",
        "x-appengine-tasketa": eta,
        "x-appengine-taskexecutioncount": "0",
        "x-appengine-taskname": "a",
        "x-appengine-taskretrycount": "0",
        "user-agent": "mine/1 AppEngine-Google; (+http://code.google.com/appengine)",
        "x-own": "stays",
    }


@pytest.mark.parametrize(
    ("options", "fields", "deadline"),
    [
        ({}, {}, 600),
        ({}, {"dispatch_deadline_usec": 15_000_000}, 15),
        ({}, {"dispatch_deadline_usec": 3600_000_000}, 600),
        ({"deadline_of": {"default": 30.0}.__getitem__}, {}, 30),
    ],
)
async def test_the_deadline(
    make_bench: MakeBench,
    options: dict[str, Any],
    fields: dict[str, Any],
    deadline: float,
) -> None:
    """A task has the deadline of its service, or its own if that is shorter."""
    bench = make_bench(**options)
    await bench.add("a", **fields)
    await bench.runner.advance(0)
    assert [execution.deadline for execution in bench.app.executions] == [deadline]


# --- what the answer means -----------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "times"),
    [
        *((status, [0]) for status in (200, 299)),
        *((status, [0, 0.1]) for status in (199, 302, 404, 500)),
    ],
)
async def test_only_a_2xx_status_ends_a_task(
    bench: Bench, status: int, times: list[float]
) -> None:
    """Any other status is retried, also a redirect, which is not followed."""
    bench.app.answers(status)
    await bench.add("a")
    await bench.runner.advance(60)
    assert bench.app.times == times
    assert await bench.api.names() == []


@pytest.mark.parametrize(
    ("error", "previous"),
    [
        (ConnectionResetError("it has died"), (None, None)),
        (TimeoutError(), ("0", "Instance Unavailable")),
        (KeyError("x"), (None, None)),
    ],
)
async def test_an_error_counts_as_an_attempt(
    bench: Bench, error: Exception, previous: tuple[str | None, str | None]
) -> None:
    """The retry waits for its backoff, and names nothing but a missed deadline."""
    bench.app.answers(500, error)
    await bench.add("a")
    async with asyncio.timeout(10):
        await bench.runner.advance(60)
    assert bench.app.times == [0, 0.1, 0.3]
    last = bench.app.executions[-1].headers
    assert last["x-appengine-taskretrycount"] == "2"
    response = last.get("x-appengine-taskpreviousresponse")
    assert (response, last.get("x-appengine-taskretryreason")) == previous
    await bench.add("b")
    await bench.runner.advance(0)
    assert bench.app.names[-1] == "b"


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("method", ["PurgeQueue", "Delete"])
async def test_a_task_that_is_deleted_while_it_runs(
    bench: Bench, method: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A task that was deleted is dropped; the log says so, and the runner continues."""
    caplog.set_level(logging.INFO, "gae_devserver.task")
    request = {
        "PurgeQueue": pb.TaskQueuePurgeQueueRequest(queue_name=b"default"),
        "Delete": pb.TaskQueueDeleteRequest(queue_name=b"default", task_name=[b"a"]),
    }[method]

    async def delete(_: Execution) -> int:
        await bench.api.call("taskqueue", method, request)
        return status

    bench.app.answer = delete
    await bench.add("a")
    await bench.runner.advance(60)
    assert re.search(
        f"task a POST /work: {status} .*deleted", caplog.records[-1].getMessage()
    )
    await bench.add("c")
    await bench.runner.advance(0)
    assert bench.app.names[:2] == ["a", "c"]


# --- backoff and limits of retries ---------------------------------------------------


async def test_the_limits_of_retries(
    make_bench: MakeBench, caplog: pytest.LogCaptureFixture
) -> None:
    """A task that has passed both its limits is dropped; the log has its attempts."""
    parameters = queueinfo.RetryParameters(
        min_backoff_seconds=4,
        max_backoff_seconds=4,
        task_retry_limit=1,
        task_age_limit="10s",
    )
    bench = make_bench(QueueConfig("default", retry_parameters=parameters))
    bench.app.answer = lambda execution: 500
    await bench.add("a", 1000)
    await bench.runner.advance(3600)
    assert bench.app.times == [1000, 1004, 1008, 1012]
    assert await bench.api.names() == []
    assert caplog.records[-1].levelno == logging.WARNING
    assert re.search("task a .* 500 .*dropped.* 4$", caplog.messages[-1])


@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), 1e300])
async def test_a_backoff_that_cannot_be_computed(bench: Bench, seconds: float) -> None:
    """The task stays, and runs again only if it is told to; others continue."""
    options = pb.TaskQueueRetryParameters(
        min_backoff_sec=seconds, max_backoff_sec=seconds
    )
    bench.app.answers(500)
    await bench.add("a", retry_parameters=options)
    await bench.add("b", 10)
    async with asyncio.timeout(10):
        await bench.runner.advance(60)
    assert bench.app.names == ["a", "b"]
    assert await bench.api.names() == ["a"]
    bench.queue().RunTaskNow(bench.queue().find("a"))
    await bench.runner.advance(0)
    assert bench.app.names == ["a", "b", "a"]
    assert await bench.api.names() == []


# --- the log -------------------------------------------------------------------------


@pytest.mark.parametrize("debug", [False, True])
async def test_the_log_tells_what_becomes_of_a_task(
    bench: Bench, debug: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Added, failed with the next attempt, done; at the level debug also started."""
    caplog.set_level(logging.DEBUG if debug else logging.INFO, "gae_devserver.task")
    bench.app.answers(500)
    await bench.add("a")
    await bench.runner.advance(1)
    lines = [
        r"task a .*default.* /work",
        r"task a .* 1 started$",
        r"task a POST /work: 500 .* \d+ ms; attempt 1, .* 0\.1 s",
        r"task a .* 2 started$",
        r"task a POST /work: 200 .* \d+ ms$",
    ]
    if not debug:
        del lines[1::2]
    for line, record in zip(lines, caplog.records, strict=True):
        assert re.match(line, record.getMessage())


async def test_the_log_has_no_control_characters(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """The reason of a failure can have them, from the URL of an HTTP target."""
    bench.app.answers(ConnectionError("\x1bc"))
    await bench.add("a")
    await bench.runner.advance(0)
    assert r"(\x1bc)" in caplog.records[0].getMessage()
