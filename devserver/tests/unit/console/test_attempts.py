"""The attempts of tasks, called over HTTP."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from google.appengine.api.taskqueue import taskqueue_service_bytes_pb2 as pb
from google.appengine.ext import deferred

from gae_devserver.activity.records import Failure, LogLine
from gae_devserver.config.queue_yaml import QueueConfig
from tests.helpers.calls import application
from tests.helpers.cloud_tasks import QUEUE, call, rpcs_on
from tests.helpers.waiting import until
from tests.unit.console.conftest import State
from tests.unit.console.test_state_api import cron_job

pytestmark = pytest.mark.asyncio

LIMITED = {"retry_limit": 1, "min_backoff_sec": 5}


async def attempts(state: State, query: str = "") -> list[dict[str, Any]]:
    """Return the attempts in a list."""
    listed: list[dict[str, Any]] = (await state.get(f"/attempts{query}"))["attempts"]
    return listed


@pytest.mark.parametrize(
    ("answer", "outcome", "status", "reason"),
    [
        (204, "done", 204, "204 in"),
        (404, "failed", 404, "404 in"),
        (TimeoutError(), "failed", 0, "deadline of 600 s"),
        (ConnectionError("broken"), "failed", 0, "broken"),
        (ValueError(), "failed", 0, "dev server"),
    ],
)
async def test_an_attempt(
    state: State, answer: Any, outcome: str, status: int, reason: str
) -> None:
    """It has the status, why it failed, and when the next attempt is."""
    state.app.answers(answer)
    await state.add("a", 60, url=b"/work?x=1", retry_parameters=LIMITED)
    await state.advance(60)
    (shown,) = await attempts(state)
    due = state.clock.start + 60
    assert reason in shown.pop("reason")
    assert shown.pop("seconds") >= 0
    assert shown == {
        "number": shown["number"],
        "queue": "default",
        "name": "a",
        "attempt": 1,
        "function": None,
        "method": "POST",
        "url": "/work?x=1",
        "service": "default",
        "outcome": outcome,
        "status": status,
        "next_in": 5.0 if outcome == "failed" else None,
        "eta": due,
        "began": due,
        "exception": None,
    }


async def test_a_task_is_dropped(state: State) -> None:
    """Its last attempt says so, and its queue counts it; a task that is gone is 404."""
    state.app.answers(500, 500)
    await state.add("a", retry_parameters=LIMITED)
    await state.advance(10)
    found = [
        (one["attempt"], one["outcome"], one["next_in"])
        for one in await attempts(state)
    ]
    assert found == [(2, "dropped", None), (1, "failed", 5.0)]
    queue = await state.listed()
    assert (queue["dropped"], queue["executed_last_hour"]) == (1, 2)
    await state.get("/queues/default/tasks/a", status=404)


async def test_a_task_that_fails_for_good(state: State) -> None:
    """It is dropped, although the SDK has answered 200."""
    activity = state.server.requests.activity

    async def answer() -> int:
        failure = Failure("PermanentTaskFailure", "", "f", "main.py", 3, "", "", True)
        activity.set_failure(activity.attempts[-1], failure)
        return 200

    state.app.answers(answer())
    await state.add("a")
    await state.advance(0)
    (shown,) = await attempts(state)
    assert (shown["outcome"], shown["status"]) == ("dropped", 200)
    assert (await state.listed())["dropped"] == 1


async def test_a_task_that_is_deleted_while_it_runs(state: State) -> None:
    """Its attempt runs, and then says what the app answered."""
    release = state.hold(500)
    await state.add("a")
    await until(lambda: state.app.running)
    (running,) = await attempts(state)
    shown = await state.get("/queues/default/tasks/a")
    assert [one["number"] for one in shown["attempts"]] == [running["number"]]
    assert (running["outcome"], running["seconds"]) == ("running", None)
    assert (await state.listed())["running"] == 1
    refused = await state.ask(
        "POST", f"/attempts/{running['number']}/enqueue", status=409
    )
    assert "runs" in refused["error"]
    await state.ask("DELETE", "/queues/default/tasks/a")
    release.set()
    await until(lambda: state.runner.finished)
    (ended,) = await attempts(state)
    assert (ended["outcome"], ended["status"]) == ("deleted", 500)


async def test_what_is_no_attempt(make_state: Callable[..., Any]) -> None:
    """A task that was not sent because its app is gone, and one that is leased."""
    state = await make_state(QueueConfig("pull", mode="pull"))
    await state.add("leased", queue="pull", mode=pb.TaskQueueMode.PULL)
    state.app.fail("it is gone")
    await state.add("a")
    await state.advance(60, status=503)
    assert await attempts(state) == []


async def test_a_backoff_that_has_no_time(state: State) -> None:
    """The attempt has failed, although the next one has no time."""
    state.app.answers(500)
    await state.add(
        "a", retry_parameters={"min_backoff_sec": 1e300, "max_backoff_sec": 1e300}
    )
    await until(lambda: state.runner.finished)
    (shown,) = await attempts(state)
    assert (shown["outcome"], shown["next_in"]) == ("failed", None)


async def test_attempts_of_other_kinds(state: State) -> None:
    """An HTTP target has a URL and no service; a cron job has a queue of its own."""
    rpcs = rpcs_on(state.server.services, state.clock, state.runner.run_now)
    url = "http://localhost:1/hook"
    await call(rpcs, "CreateTask", parent=QUEUE, task={"http_request": {"url": url}})
    await until(lambda: state.runner.finished)
    state.cron.apply(application(cron_jobs=[cron_job("/daily")]))
    await state.ask("POST", "/cron/run", b'{"index": 0}')
    job, http = await attempts(state)
    assert (http["url"], http["service"], http["status"]) == (url, "", 200)
    assert (job["queue"], job["method"], job["url"]) == ("__cron", "GET", "/daily")
    refused = await state.ask("POST", f"/attempts/{job['number']}/enqueue", status=409)
    assert "job" in refused["error"]
    await state.post(f"/attempts/{http['number']}/enqueue")
    await until(lambda: state.runner.finished == 3)
    (again, *_) = await attempts(state)
    assert (again["url"], again["attempt"], again["outcome"]) == (url, 1, "done")


async def test_a_page_is_only_text(state: State) -> None:
    """What the app and its exceptions say is no markup of the page."""
    script = "<script>alert(1)</script>\x1b\x00"
    headers = [("X-Own", script), ("Content-Type", "text/html")]
    state.app.answers(500)
    fields: dict[str, Any] = {"retry_parameters": {"min_backoff_sec": 9}}
    fields |= {"headers": headers, "url": f"/{script}".encode()}
    await state.add("a", body=script.encode(), **fields)
    await state.add("b", body=deferred.serialize(json.dumps, script, x={script}))
    await until(lambda: state.runner.finished == 2)
    activity = state.server.requests.activity
    for record in activity.attempts:
        activity.add_line(record, LogLine(0.0, script, script, script))
        texts = (script, script, script, script)
        activity.set_failure(record, Failure(*texts, 3, script, f"full {script}"))
    numbers = [record.number for record in activity.attempts]
    paths = ["/attempts", *(f"/attempts/{number}" for number in numbers)]
    paths += ["/queues/default", "/queues/default/tasks/a", "/queues/default/tasks/b"]
    for path in paths:
        async with state.session.get(path, headers={"Accept": "text/html"}) as answer:
            page = await answer.text()
        assert answer.content_type == "text/html"
        assert "&lt;script&gt;alert(1)" in page or path.endswith("b")
        assert "<script>alert" not in page
        assert not {"\x1b", "\x00"} & {*page}


async def test_attempts_are_found(make_state: Callable[..., Any]) -> None:
    """By queue, outcome and text, the newest first, a page at a time."""
    state = await make_state(QueueConfig("other"))
    state.app.answers(200, 200, 500)
    await state.add("a", body=deferred.serialize(json.dumps, 1))
    await state.add("b", queue="other", url=b"/B")
    await state.add("c", retry_parameters={"min_backoff_sec": 9})
    await until(lambda: state.runner.finished == 3)
    activity = state.server.requests.activity
    record = next(one for one in activity.attempts if one.target == "/B")
    activity.add_line(record, LogLine(0.0, "INFO", "app", "Hello log"))
    failure = Failure("KeyError", "'Name'", "f", "main.py", 3, "short", "full")
    activity.set_failure(record, failure)
    for query, names in {
        "": "cba",
        "?queue=other": "b",
        "?outcome=failed": "c",
        "?text=json.DUMPS": "a",
        "?text=hello": "b",
        "?text=keyerror": "b",
        "?text=/b&outcome=failed": "",
    }.items():
        assert "".join(one["name"] for one in await attempts(state, query)) == names
    first = await state.get("/attempts?limit=2")
    assert [one["name"] for one in first["attempts"]] == ["c", "b"]
    last = await state.get(f"/attempts?limit=2&cursor={first['cursor']}")
    assert ([one["name"] for one in last["attempts"]], last["cursor"]) == (["a"], None)
    for wrong in ("limit=0", "cursor=x", "outcome=gone"):
        await state.get(f"/attempts?{wrong}", status=400)
    shown = await state.get(f"/attempts/{record.number}")
    assert [line["text"] for line in shown["lines"]] == ["Hello log"]
    assert (shown["exception"]["line"], shown["traceback"]) == (3, "short")
    await state.post("/reset")
    assert await attempts(state) == []
    await state.get(f"/attempts/{record.number}", status=404)


@pytest.mark.parametrize("outcome", ["done", "failed", "dropped", "deleted"])
async def test_a_task_is_enqueued_again(state: State, outcome: str) -> None:
    """It is new: without attempts, due now, and with another name."""
    limit = 0 if outcome == "dropped" else 9
    release = state.hold(200 if outcome == "done" else 500)
    fields: dict[str, Any] = {"method": 4, "url": b"/w?x=1", "body": b"\x00\xff"}
    fields["retry_parameters"] = {"retry_limit": limit, "min_backoff_sec": 9}
    await state.add("a", headers=[("X-Own", "1")], **fields)
    await until(lambda: state.app.running)
    if outcome == "deleted":
        await state.ask("DELETE", "/queues/default/tasks/a")
    release.set()
    await until(lambda: state.runner.finished)
    (shown,) = await attempts(state)
    assert shown["outcome"] == outcome
    number = shown["number"]
    assert (await state.get(f"/attempts/{number}"))["cannot_enqueue"] is None
    await state.post("/queues/default/pause")
    again = await state.post(f"/attempts/{number}/enqueue")
    assert (again["queue"], again["name"] != "a") == ("default", True)
    task = await state.get(again["url"])
    assert (task["method"], task["url"], task["due_in"]) == ("PUT", "/w?x=1", 0)
    assert (task["retry_count"], task["execution_count"]) == (0, 0)
    assert ["X-Own", "1"] in task["headers"]
    assert base64.b64decode(task["payload"]) == b"\x00\xff"
    await state.post("/queues/default/resume")
    await state.advance(0)
    before, after = state.app.executions
    assert (after.method, after.target, after.body) == ("PUT", "/w?x=1", before.body)
    assert after.headers["x-appengine-taskretrycount"] == "0"
    assert "x-appengine-taskpreviousresponse" not in after.headers


async def test_a_call_that_is_stored_in_the_datastore(state: State) -> None:
    """It is shown, also by its attempt, and added again while its entity is there."""
    entity = deferred.deferred._DeferredTaskEntity(
        data=deferred.serialize(json.dumps, 1, x=2)
    )
    key = entity.put()
    body = deferred.serialize(deferred.run_from_datastore, str(key))
    await state.add("a", 60, body=body)
    task = await state.get("/queues/default/tasks/a")
    assert (task["call"], task["arguments"]) == ("json.dumps(1, x=2)", ["1", "x=2"])
    assert task["stored_at"] == f"Key('_DeferredTaskEntity', {key.id()})"
    await state.advance(60)
    (shown,) = await attempts(state)
    await state.post(f"/attempts/{shown['number']}/enqueue")
    entity.delete()
    refused = await state.ask(
        "POST", f"/attempts/{shown['number']}/enqueue", status=409
    )
    assert "too large" in refused["error"]
    shown = await state.get(f"/attempts/{shown['number']}")
    assert "no longer there" in shown["unreadable"]


async def test_a_task_whose_queue_is_gone(make_state: Callable[..., Any]) -> None:
    """It cannot be added again."""
    state = await make_state(QueueConfig("other"))
    await state.add("a", queue="other")
    await until(lambda: state.runner.finished)
    state.configure()
    (shown,) = await attempts(state)
    refused = await state.ask(
        "POST", f"/attempts/{shown['number']}/enqueue", status=409
    )
    assert "'other'" in refused["error"]


async def test_payloads_are_downloaded(state: State) -> None:
    """As a file, whatever their type, of a task and of its attempt."""
    await state.add("a", 60, body=b"<script>", headers=[("Content-Type", "text/html")])
    paths = ["/queues/default/tasks/a/payload"]
    for _ in range(2):
        async with state.session.get(paths[-1]) as answer:
            assert await answer.read() == b"<script>"
            assert answer.content_type == "application/octet-stream"
            disposition = answer.headers["Content-Disposition"]
            assert disposition == "attachment; filename*=UTF-8''a.bin"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
        await state.advance(60)
        paths.append(f"/attempts/{(await attempts(state))[0]['number']}/payload")
