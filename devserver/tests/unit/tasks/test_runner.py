"""Which task runs when: ETA, rate, concurrency, retries, and the virtual clock."""

import asyncio
import dataclasses
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from google.appengine.api.taskqueue import taskqueue_service_bytes_pb2 as pb

from gae_devserver.app.supervisor import AppUnavailable
from gae_devserver.clock import Clock
from gae_devserver.config.queue_yaml import QueueConfig
from gae_devserver.tasks.queues import Queue
from gae_devserver.tasks.runner import TaskRunner
from tests.helpers.calls import (
    HOSTNAME,
    PULL,
    AppRequest,
    Server,
    add_request,
    retry_parameters,
)
from tests.helpers.clock import StoppedClock
from tests.helpers.recording_app import App, Execution, Outcome
from tests.helpers.waiting import settled, until

pytestmark = pytest.mark.asyncio


@dataclasses.dataclass(frozen=True)
class Bench:
    """A task runner that runs, with all that belongs to it."""

    server: Server
    app: App
    api: AppRequest
    runner: TaskRunner
    clock: StoppedClock

    async def add(self, name: str = "", due_in: float = 0.0, **fields: Any) -> str:
        """Add a task as the app does, whose time stands still."""
        fields.setdefault("now", self.clock.start)
        return await self.api.add(name, due_in=due_in, **fields)

    async def add_many(self, count: int, **fields: Any) -> None:
        """Add tasks that are due now."""
        for first in range(0, count, 100):
            numbers = range(first, min(first + 100, count))
            results = await self.api.bulk_add(
                add_request(f"task-{number:05}", now=self.clock.start, **fields)
                for number in numbers
            )
            assert not any(results)

    async def waiting(self, queue: str = "default") -> list[str]:
        """Return the names of the tasks that are in a queue."""
        return [task.task_name.decode() for task in await self.api.tasks(queue)]

    def queue(self, name: str = "default") -> Queue:
        """Return a queue."""
        return self.server.services.taskqueue.queues()[name]


@pytest_asyncio.fixture
async def make_bench(
    make_server: Callable[..., Server], app: App, clock: StoppedClock
) -> AsyncIterator[Callable[..., Bench]]:
    """Make a task runner for given queues, and start it."""
    runners: list[TaskRunner] = []

    def make(*queues: QueueConfig, **options: Any) -> Bench:
        server = make_server(*queues)
        runner = TaskRunner(
            server.services.taskqueue, clock, app.dispatch, app.ready, **options
        )
        runner.start()
        runners.append(runner)
        return Bench(server, app, server.request(), runner, clock)

    yield make
    for runner in runners:
        await runner.stop()


@pytest_asyncio.fixture
async def bench(make_bench: Callable[..., Bench]) -> Bench:
    """A task runner with the default queue."""
    return make_bench()


async def after_turns(turns: int = 5, status: int = 200) -> int:
    """Answer after some turns of the loop, so that tasks overlap."""
    for _ in range(turns):
        await asyncio.sleep(0)
    return status


# --- when tasks are due --------------------------------------------------------------


async def test_a_task_that_is_due_runs_at_once(bench: Bench) -> None:
    """Without any advance; when it has succeeded it is gone."""
    await bench.add("a")
    await until(lambda: bench.runner.finished)
    assert bench.app.names == ["a"]
    assert await bench.waiting() == []


async def test_a_task_runs_when_real_time_has_come(
    make_server: Callable[..., Server],
) -> None:
    """A countdown is kept, though nobody looks or advances."""
    clock, ran = Clock(), []
    server = make_server(clock=clock)

    async def dispatch(*_: Any, **__: Any) -> int:
        ran.append(clock.now())
        return 200

    runner = TaskRunner(
        server.services.taskqueue, clock, dispatch, App(StoppedClock()).ready
    )
    runner.start()
    due = time.time() + 0.05
    await server.request().add(now=due)
    await until(lambda: ran)
    await runner.stop()
    # the stub keeps whole microseconds
    assert ran[0] >= due - 1e-6


async def test_tasks_that_wait_before_the_start_are_run(
    make_server: Callable[..., Server], app: App, clock: StoppedClock
) -> None:
    """What was queued before the runner listens is not forgotten."""
    server = make_server()
    await server.request().add("early", now=clock.start)
    runner = TaskRunner(server.services.taskqueue, clock, app.dispatch, app.ready)
    runner.start()
    await until(lambda: runner.finished)
    await runner.stop()
    assert app.names == ["early"]


async def test_an_advance_runs_tasks_in_the_order_of_their_etas(bench: Bench) -> None:
    """Each at its own time, in whatever order they were added."""
    for name, due_in in (("c", 30), ("a", 10), ("d", 31), ("b", 20)):
        await bench.add(name, due_in)
    assert await bench.runner.advance(60) == 4
    assert bench.app.names == ["a", "b", "c", "d"]
    assert bench.app.times == [10, 20, 30, 31]
    assert bench.clock.elapsed() == 60
    assert await bench.waiting() == []


async def test_tasks_of_one_eta_run_in_the_order_in_which_they_were_added(
    make_bench: Callable[..., Bench],
) -> None:
    """First in, first out."""
    bench = make_bench(QueueConfig("one", max_concurrent_requests=1))
    names = [f"task-{number * 7 % 20}" for number in range(20)]
    for name in names:
        await bench.add(name, 10, queue="one")
    await bench.runner.advance(10)
    assert bench.app.names == names


async def test_the_documented_schedule(bench: Bench) -> None:
    """Tasks of 0, 60 and 120 s run at 0, 60 and 120 s."""
    for due_in in (0, 60, 120):
        await bench.add(due_in=due_in)
    assert await bench.runner.advance(0) == 1
    assert await bench.runner.advance(60) == 1
    assert await bench.runner.advance(60) == 1
    assert bench.app.times == [0, 60, 120]


async def test_what_is_due_later_stays(bench: Bench) -> None:
    """A task is not run a moment too early."""
    await bench.add("a", 60)
    assert await bench.runner.advance(59.9) == 0
    assert await bench.waiting() == ["a"]
    assert await bench.runner.advance(0.1) == 1
    assert bench.app.times == [60]


async def test_an_advance_of_nothing_runs_what_is_due(bench: Bench) -> None:
    """It waits for the end of what is due now; the clock stays."""
    bench.app.answer = lambda execution: after_turns(50)
    await bench.add_many(5)
    assert await bench.runner.advance(0) == 5
    assert bench.clock.offset == 0
    assert bench.app.running == 0


async def test_an_advance_waits_for_the_end_of_its_tasks(bench: Bench) -> None:
    """It does not answer while one is running, and time does not pass it by."""
    gate = asyncio.Event()

    async def hold() -> int:
        await gate.wait()
        return 200

    bench.app.answers(hold())
    await bench.add("slow", 10)
    await bench.add("next", 20)
    advance = asyncio.create_task(bench.runner.advance(60))
    await until(lambda: bench.app.running)
    await settled()
    assert not advance.done()
    assert bench.clock.elapsed() == 10
    gate.set()
    assert await advance == 2
    assert bench.app.names == ["slow", "next"]


async def test_an_advance_includes_the_tasks_that_its_tasks_add(bench: Bench) -> None:
    """A task that defers another one 10 s later, and so on: all run on the way."""

    async def add_another(execution: Execution) -> int:
        number = int(execution.name) + 1
        await bench.add(str(number), 10)
        return 200

    bench.app.answer = add_another
    await bench.add("0", 5)
    assert await bench.runner.advance(40) == 4
    assert bench.app.times == [5, 15, 25, 35]
    assert await bench.waiting() == ["4"]
    assert await bench.runner.advance(5) == 1


async def test_an_advance_includes_retries(bench: Bench) -> None:
    """A task that fails twice has run three times."""
    bench.app.answers(500, 500)
    await bench.add("a", 60)
    assert await bench.runner.advance(61) == 3
    assert bench.app.times == [60, 60.1, 60.3]
    assert await bench.waiting() == []


async def test_a_retry_that_is_due_later_stays(bench: Bench) -> None:
    """An advance ends at its target, though a task is not yet done."""
    bench.app.answers(500)
    await bench.add("a", 60)
    assert await bench.runner.advance(60) == 1
    assert await bench.waiting() == ["a"]
    assert bench.clock.elapsed() == 60


async def test_an_advance_to_the_next_task(bench: Bench) -> None:
    """The clock goes just so far that one more task runs; without any it stays."""
    await bench.add("a", 60)
    await bench.add("b", 120)
    assert await bench.runner.advance_to_next_task() == 1
    assert bench.clock.elapsed() == 60
    assert await bench.runner.advance_to_next_task() == 1
    assert bench.clock.elapsed() == 120
    assert await bench.runner.advance_to_next_task() == 0
    assert bench.clock.elapsed() == 120
    assert bench.app.names == ["a", "b"]


async def test_two_advances_at_once_come_one_after_the_other(bench: Bench) -> None:
    """Each adds its seconds and counts its own tasks."""
    for due_in in (5, 15, 25):
        await bench.add(due_in=due_in)
    advances = [bench.runner.advance(10), bench.runner.advance(20)]
    assert await asyncio.gather(*advances) == [1, 2]
    assert bench.clock.elapsed() == 30
    assert bench.app.times == [5, 15, 25]


async def test_a_forced_run_does_not_wait_for_the_eta(bench: Bench) -> None:
    """A task that was made due runs at once, and once."""
    await bench.add("a", 3600)
    await settled()
    task = bench.queue().find("a")
    bench.queue().RunTaskNow(task)
    await until(lambda: bench.runner.finished)
    assert bench.app.names == ["a"]
    assert await bench.runner.advance(7200) == 0


async def test_tasks_of_a_pull_queue_are_not_sent(
    make_bench: Callable[..., Bench],
) -> None:
    """They wait to be leased."""
    bench = make_bench(QueueConfig("pull", mode="pull"))
    await bench.add("a", queue="pull", mode=PULL)
    assert await bench.runner.advance(3600) == 0
    assert await bench.waiting("pull") == ["a"]


async def test_a_thousand_tasks_run_once_each(bench: Bench) -> None:
    """None is lost and none runs twice."""
    await bench.add_many(1000)
    await bench.runner.advance(0)
    assert len(bench.app.names) == len(set(bench.app.names)) == 1000
    assert bench.runner.finished == 1000
    assert await bench.waiting() == []


# --- retries -------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 204, 299])
async def test_a_status_of_success_ends_a_task(bench: Bench, status: int) -> None:
    """Any 2xx."""
    bench.app.answers(status)
    await bench.add("a")
    await bench.runner.advance(60)
    assert bench.app.names == ["a"]
    assert await bench.waiting() == []


@pytest.mark.parametrize("status", [100, 302, 304, 400, 404, 408, 429, 500, 503, 599])
async def test_any_other_status_is_retried(bench: Bench, status: int) -> None:
    """Also a redirect, which is not followed."""
    bench.app.answers(status)
    await bench.add("a")
    await bench.runner.advance(60)
    assert bench.app.times == [0, 0.1]


async def test_the_backoff_of_a_queue_without_parameters(bench: Bench) -> None:
    """0.1 s, doubled each time, up to an hour; there is no limit."""
    bench.app.answer = lambda execution: 500
    await bench.add("a")
    await bench.runner.advance(6000)
    waits = [b - a for a, b in zip(bench.app.times, bench.app.times[1:], strict=False)]
    assert waits == pytest.approx([0.1 * 2**number for number in range(len(waits))])
    assert len(waits) == 15
    await bench.runner.advance(6 * 3600)
    assert bench.app.times[-1] - bench.app.times[-2] == pytest.approx(3600)


async def test_the_backoff_that_the_documentation_of_queue_yaml_shows(
    make_bench: Callable[..., Bench],
) -> None:
    """At first doubled, then by a constant step, then at most the maximum.

    The example of `max_doublings` there has the waits 10 20 40 80 160 240 300 300.
    """
    parameters = retry_parameters(
        min_backoff_seconds=10, max_backoff_seconds=300, max_doublings=3
    )
    bench = make_bench(QueueConfig("work", retry_parameters=parameters))
    bench.app.answer = lambda execution: 500
    await bench.add("a", queue="work")
    await bench.runner.advance(1200)
    waits = [b - a for a, b in zip(bench.app.times, bench.app.times[1:], strict=False)]
    assert waits == [10, 20, 40, 80, 160, 240, 300, 300]


async def test_the_limit_of_a_task(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """Limit 2, backoff 1: it runs at 0, 1 and 3 s and is dropped, which is logged."""
    bench.app.answer = lambda execution: 500
    options = pb.TaskQueueRetryParameters(retry_limit=2, min_backoff_sec=1)
    await bench.add("a", retry_parameters=options)
    await bench.runner.advance(3600)
    assert bench.app.times == [0, 1, 3]
    assert await bench.waiting() == []
    (error,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert "task a 500" in error.getMessage()
    assert "dropped after 3 attempts" in error.getMessage()


async def test_the_parameters_of_a_task_go_before_those_of_its_queue(
    make_bench: Callable[..., Bench],
) -> None:
    """A task that has its own retry options has none of the queue's."""
    bench = make_bench(
        QueueConfig("work", retry_parameters=retry_parameters(task_retry_limit=5))
    )
    bench.app.answer = lambda execution: 500
    options = pb.TaskQueueRetryParameters(retry_limit=0)
    await bench.add("a", queue="work", retry_parameters=options)
    await bench.runner.advance(3600)
    assert bench.app.times == [0]
    await bench.add("b", queue="work")
    await bench.runner.advance(3600)
    assert bench.app.names == ["a"] + ["b"] * 6


@pytest.mark.parametrize(
    ("limits", "times"),
    [
        ({"task_retry_limit": 1}, [0, 4]),
        ({"task_age_limit": "10s"}, [0, 4, 8, 12]),
        ({"task_retry_limit": 1, "task_age_limit": "10s"}, [0, 4, 8, 12]),
        ({"task_retry_limit": 3, "task_age_limit": "2s"}, [0, 4, 8, 12]),
    ],
)
async def test_retry_limit_and_age_limit(
    make_bench: Callable[..., Bench], limits: dict[str, Any], times: list[float]
) -> None:
    """With both, a task is dropped only when it has passed both."""
    parameters = retry_parameters(
        min_backoff_seconds=4, max_backoff_seconds=4, **limits
    )
    bench = make_bench(QueueConfig("work", retry_parameters=parameters))
    bench.app.answer = lambda execution: 500
    await bench.add("a", queue="work")
    await bench.runner.advance(3600)
    assert bench.app.times == times
    assert await bench.waiting("work") == []


async def test_the_age_counts_from_the_first_try(
    make_bench: Callable[..., Bench],
) -> None:
    """A long countdown does not use it up."""
    parameters = retry_parameters(
        min_backoff_seconds=4, max_backoff_seconds=4, task_age_limit="5s"
    )
    bench = make_bench(QueueConfig("work", retry_parameters=parameters))
    bench.app.answer = lambda execution: 500
    await bench.add("a", 1000, queue="work")
    await bench.runner.advance(3600)
    assert bench.app.times == [1000, 1004, 1008]


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError("the app has died"),
        ConnectionRefusedError(),
        TimeoutError(),
        ValueError("anything"),
        RuntimeError(),
        OSError("anything"),
        AssertionError(),
        KeyError("x"),
    ],
)
async def test_no_answer_is_a_failure(bench: Bench, error: Exception) -> None:
    """Whatever goes wrong counts as an attempt, and the next one comes later.

    An error that nobody expects must neither stop the runner nor have the task sent
    again and again without a pause.
    """
    bench.app.answers(error, error)
    await bench.add("a")
    async with asyncio.timeout(10):
        await bench.runner.advance(60)
    assert bench.app.times == [0, 0.1, 0.3]
    last = bench.app.executions[-1].headers
    assert last["x-appengine-taskretrycount"] == "2"
    assert "x-appengine-taskpreviousresponse" not in last
    await bench.add("b")
    await bench.runner.advance(0)
    assert bench.app.names[-1] == "b"


async def test_a_fault_of_the_server_is_a_failure(bench: Bench) -> None:
    """It is retried with a backoff, up to its limit, and others go on."""

    def answer(execution: Execution) -> Outcome:
        return RuntimeError("a fault") if execution.name == "a" else 200

    bench.app.answer = answer
    options = pb.TaskQueueRetryParameters(retry_limit=1)
    await bench.add("a", retry_parameters=options)
    await bench.add("b")
    async with asyncio.timeout(10):
        await bench.runner.advance(60)
    assert sorted(bench.app.names) == ["a", "a", "b"]
    assert await bench.waiting() == []


async def test_a_url_that_is_no_text(bench: Bench) -> None:
    """Its bytes are encoded, and the app says what it thinks of them."""
    await bench.add("a", url=b"/\xff")
    await bench.runner.advance(0)
    assert bench.app.executions[0].target == "/%FF"


@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), 1e300])
async def test_a_backoff_that_cannot_be_computed(bench: Bench, seconds: float) -> None:
    """The task stays and is not sent again and again; others go on."""
    options = pb.TaskQueueRetryParameters(
        min_backoff_sec=seconds, max_backoff_sec=seconds
    )
    bench.app.answers(500)
    await bench.add("a", retry_parameters=options)
    await bench.add("b", 10)
    async with asyncio.timeout(10):
        await bench.runner.advance(60)
    assert bench.app.names == ["a", "b"]
    assert await bench.waiting() == ["a"]


async def test_a_task_can_be_asked_for_after_a_failure(bench: Bench) -> None:
    """Its last status, and the number of tries, are in what the API answers."""
    bench.app.answers(503)
    await bench.add("a")
    await bench.runner.advance(0.05)
    (task,) = await bench.api.tasks()
    assert (task.retry_count, task.execution_count) == (1, 1)
    assert task.runlog.response_code == 503


# --- the app is not there ------------------------------------------------------------


async def test_an_app_that_does_not_run_costs_no_attempt(bench: Bench) -> None:
    """The task waits; an advance says why it cannot go on."""
    bench.app.failure = "the app has a syntax error"
    await bench.add("a")
    async with asyncio.timeout(10):
        with pytest.raises(AppUnavailable, match="syntax error"):
            await bench.runner.advance(60)
    assert bench.clock.elapsed() == 0
    assert await bench.waiting() == ["a"]
    (task,) = await bench.api.tasks()
    assert task.retry_count == 0
    assert not bench.queue().running
    bench.app.failure = None
    await until(lambda: bench.runner.finished)
    last = bench.app.executions[-1].headers
    assert last["x-appengine-taskretrycount"] == "0"
    assert last["x-appengine-taskexecutioncount"] == "0"
    assert await bench.runner.advance(60) == 0
    assert bench.clock.elapsed() == 60


async def test_a_task_that_was_taken_and_not_sent_waits_again(bench: Bench) -> None:
    """The app has died in between: that is no attempt."""
    bench.app.answers(AppUnavailable("the app has died"))
    await bench.add("a")
    assert await bench.runner.advance(0) == 1
    assert [
        execution.headers["x-appengine-taskretrycount"]
        for execution in bench.app.executions
    ] == ["0", "0"]
    assert await bench.waiting() == []


@pytest.mark.parametrize("what", ["purge", "delete", "pause", "rate 0"])
async def test_what_waits_for_the_app_can_be_stopped(bench: Bench, what: str) -> None:
    """A task that is due is not sent when the app is back, if it is not to be."""
    bench.app.failure = "the app has a syntax error"
    await bench.add_many(20)
    with pytest.raises(AppUnavailable):
        await bench.runner.advance(0)
    queue = bench.queue()
    match what:
        case "purge":
            queue.PurgeQueue()
        case "delete":
            for name in await bench.waiting():
                queue.Delete(name)
        case "pause":
            queue.paused = True
        case "rate 0":
            held = QueueConfig("default", rate=0.0)
            bench.server.services.taskqueue.update([held])
    bench.app.failure = None
    bench.runner.wake()
    assert await bench.runner.advance(60) == 0
    assert bench.app.executions == []


# --- rate, bucket, concurrency, pause ------------------------------------------------


@pytest.mark.parametrize(
    ("size", "times"),
    [
        (1, [0, 0.5, 1, 1.5, 2]),
        (3, [0, 0, 0, 0.5, 1]),
        (100, [0, 0, 0, 0, 0]),
    ],
)
async def test_the_rate_and_the_bucket_of_a_queue(
    make_bench: Callable[..., Bench], size: int, times: list[float]
) -> None:
    """`bucket_size` tasks at once, then `rate` a second, in virtual time."""
    bench = make_bench(QueueConfig("work", rate=2.0, bucket_size=size))
    await bench.add_many(5, queue="work")
    await bench.runner.advance(60)
    assert bench.app.times == times


async def test_an_idle_bucket_fills_up_to_its_size(
    make_bench: Callable[..., Bench],
) -> None:
    """After a long pause there are as many tokens as the bucket holds, not more."""
    bench = make_bench(QueueConfig("work", rate=1.0, bucket_size=2))
    await bench.runner.advance(1000)
    for number in range(4):
        await bench.add(str(number), queue="work")
    await bench.runner.advance(60)
    assert bench.app.times == [1000, 1000, 1001, 1002]


@pytest.mark.parametrize("size", [0, -1])
async def test_a_bucket_holds_one_token_at_least(
    make_bench: Callable[..., Bench], size: int
) -> None:
    """`bucket_size: 0` would hold the queue for ever, and an advance with it."""
    bench = make_bench(QueueConfig("work", rate=1.0, bucket_size=size))
    await bench.add_many(3, queue="work")
    async with asyncio.timeout(10):
        await bench.runner.advance(60)
    assert bench.app.times == [0, 1, 2]


async def test_the_rate_also_holds_for_retries(
    make_bench: Callable[..., Bench],
) -> None:
    """A task that fails takes a token again."""
    bench = make_bench(QueueConfig("work", rate=0.1, bucket_size=1))
    bench.app.answers(500)
    await bench.add("a", queue="work")
    await bench.runner.advance(60)
    assert bench.app.times == [0, 10]


async def test_a_bucket_fills_again_after_the_clock_was_reset(
    make_bench: Callable[..., Bench],
) -> None:
    """The bucket does not wait for a time that was taken back."""
    bench = make_bench(QueueConfig("work", rate=1.0, bucket_size=1))
    await bench.runner.advance(3600)
    await bench.add("a", queue="work")
    await bench.runner.advance(0)
    bench.clock.reset()
    await bench.add("b", queue="work")
    await bench.runner.advance(2)
    assert bench.app.names == ["a", "b"]
    assert bench.clock.elapsed() == 2


async def test_a_reset_ends_an_advance(bench: Bench) -> None:
    """The clock stays where the reset has put it."""
    gate = asyncio.Event()

    async def hold() -> int:
        await gate.wait()
        return 200

    bench.app.answers(hold())
    await bench.add("a")
    advance = asyncio.create_task(bench.runner.advance(3600))
    await until(lambda: bench.app.running)
    bench.clock.reset()
    bench.runner.reset()
    gate.set()
    await advance
    assert bench.clock.elapsed() == 0


async def test_a_new_rate_counts_at_once(make_bench: Callable[..., Bench]) -> None:
    """When queue.yaml has changed, waiting tasks run at the new rate."""
    bench = make_bench(QueueConfig("work", rate=0.001, bucket_size=1))
    await bench.add_many(3, queue="work")
    await bench.runner.advance(1)
    assert bench.app.times == [0]
    bench.server.services.update_queues(
        [QueueConfig("default"), QueueConfig("work", rate=1.0, bucket_size=1)]
    )
    await bench.runner.advance(10)
    assert bench.app.times == [0, 1, 2]


async def test_rate_0_holds_a_queue(make_bench: Callable[..., Bench]) -> None:
    """An advance goes past its tasks, and they run when the rate allows it."""
    bench = make_bench(QueueConfig("held", rate=0.0, rate_text="0/s"))
    await bench.add("a", queue="held")
    await bench.add("b", 30)
    async with asyncio.timeout(10):
        assert await bench.runner.advance(60) == 1
        assert await bench.runner.advance_to_next_task() == 0
    assert bench.app.names == ["b"]
    assert await bench.waiting("held") == ["a"]
    bench.server.services.update_queues([QueueConfig("default"), QueueConfig("held")])
    await until(lambda: len(bench.app.names) == 2)


async def test_a_paused_queue_is_held_until_it_is_resumed(bench: Bench) -> None:
    """What is running ends; nothing new starts."""
    bench.queue().paused = True
    await bench.add("a")
    async with asyncio.timeout(10):
        assert await bench.runner.advance(60) == 0
        assert await bench.runner.advance_to_next_task() == 0
    assert bench.runner.next_due() is None
    bench.queue().paused = False
    bench.runner.wake()
    await until(lambda: bench.runner.finished)
    assert bench.app.names == ["a"]


async def test_max_concurrent_requests(make_bench: Callable[..., Bench]) -> None:
    """Never more at once than the queue allows, and not fewer."""
    bench = make_bench(QueueConfig("work", max_concurrent_requests=3))
    bench.app.answer = lambda execution: after_turns(10)
    await bench.add_many(20, queue="work")
    await bench.runner.advance(0)
    assert len(bench.app.names) == 20
    assert bench.app.peak == 3


async def test_sixteen_tasks_run_at_once(make_bench: Callable[..., Bench]) -> None:
    """Over all queues, however many wait."""
    bench = make_bench(QueueConfig("work"))
    gate = asyncio.Event()

    async def hold(_: Execution) -> int:
        await gate.wait()
        return 200

    bench.app.answer = hold
    await bench.add_many(20)
    await bench.add_many(20, queue="work")
    await until(lambda: bench.app.running == 16)
    await settled()
    assert bench.app.running == 16
    gate.set()
    await bench.runner.advance(0)
    assert len(bench.app.names) == 40
    assert bench.app.peak == 16


async def test_a_long_queue_does_not_hold_up_another(
    make_bench: Callable[..., Bench],
) -> None:
    """The next free place goes to the queue that runs least, not to the first one."""
    bench = make_bench(QueueConfig("long"), QueueConfig("short"))
    bench.app.answer = lambda execution: after_turns(5)
    await bench.add_many(200, queue="long")
    await until(lambda: bench.app.running == 16)
    for number in range(5):
        await bench.add(f"short-{number}", queue="short")
    await bench.runner.advance(0)
    places = [bench.app.names.index(f"short-{number}") for number in range(5)]
    assert len(bench.app.names) == 205
    assert max(places) < 100


# --- what a task may do --------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 500])
async def test_a_task_that_purges_its_own_queue(bench: Bench, status: int) -> None:
    """It is gone, whether it then fails or not, and the runner goes on."""

    async def purge() -> int:
        request = pb.TaskQueuePurgeQueueRequest(queue_name=b"default")
        await bench.api.call("taskqueue", "PurgeQueue", request)
        return status

    bench.app.answers(purge())
    await bench.add("a")
    await bench.add("b", 60)
    async with asyncio.timeout(10):
        await bench.runner.advance(120)
    assert bench.app.names == ["a"]
    await bench.add("c")
    await bench.runner.advance(0)
    assert bench.app.names == ["a", "c"]


@pytest.mark.parametrize("status", [200, 500])
async def test_a_task_that_is_deleted_while_it_runs(
    bench: Bench, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """It is not retried, and the log says what has happened."""
    caplog.set_level(logging.INFO, "gae_devserver.task")

    async def delete(_: Execution) -> int:
        bench.queue().Delete("a")
        return status

    bench.app.answer = delete
    await bench.add("a")
    await bench.runner.advance(60)
    assert bench.app.names == ["a"]
    assert f"task a {status} " in caplog.records[-1].getMessage()
    assert "deleted" in caplog.records[-1].getMessage()


async def test_a_forced_run_of_a_task_that_is_running(bench: Bench) -> None:
    """It does not run twice at once; a failure is retried as usual."""
    gate = asyncio.Event()

    async def hold() -> int:
        await gate.wait()
        return 500

    bench.app.answers(hold())
    await bench.add("a")
    await until(lambda: bench.app.running)
    bench.queue().RunTaskNow(bench.queue().find("a"))
    await settled()
    assert bench.app.running == 1
    gate.set()
    await bench.runner.advance(60)
    assert bench.app.times == [0, 0.1]
    assert bench.app.peak == 1


async def test_a_name_that_is_used_again_while_the_old_task_runs(bench: Bench) -> None:
    """After a reset a task of the same name is another task, and is run."""
    gate = asyncio.Event()

    async def hold() -> int:
        await gate.wait()
        return 500

    bench.app.answers(hold())
    await bench.add("a", body=b"old")
    await until(lambda: bench.app.running)
    bench.server.services.taskqueue.clear()
    await bench.add("a", body=b"new")
    await settled()
    gate.set()
    async with asyncio.timeout(10):
        await bench.runner.advance(60)
    assert [execution.body for execution in bench.app.executions] == [b"old", b"new"]
    assert await bench.waiting() == []


async def test_a_queue_that_goes_while_its_task_runs(
    make_bench: Callable[..., Bench],
) -> None:
    """The task ends without a trace, and the runner goes on."""
    bench = make_bench(QueueConfig("work"))
    gate = asyncio.Event()

    async def hold() -> int:
        await gate.wait()
        return 500

    bench.app.answers(hold())
    await bench.add("a", queue="work")
    await until(lambda: bench.app.running)
    bench.server.services.update_queues([QueueConfig("default")])
    gate.set()
    await bench.add("b", 10)
    await bench.runner.advance(60)
    assert bench.app.names == ["a", "b"]


async def test_a_stop_cuts_off_what_runs(bench: Bench) -> None:
    """Nothing of the runner is left in the loop."""
    before = asyncio.all_tasks()

    async def hang(_: Execution) -> int:
        await asyncio.Event().wait()
        return 200

    bench.app.answer = hang
    await bench.add_many(3)
    await until(lambda: bench.app.running == 3)
    await bench.runner.stop()
    assert bench.app.running == 0
    assert asyncio.all_tasks() <= before


# --- what the app gets ---------------------------------------------------------------


async def test_a_task_arrives_as_it_was_added(bench: Bench) -> None:
    """Method, target with its query, headers and body.

    What no request target may have, such as a letter that is not ASCII, is encoded.
    """
    await bench.add(
        "a",
        method=pb.TaskQueueAddRequest.PUT,
        url="/pfad/ü x?a=1&b=%20".encode(),
        body=b"\x00\xff" * 10,
        headers=[("Content-Type", "application/json"), ("X-Own", "1"), ("X-Own", "2")],
    )
    await bench.runner.advance(0)
    (execution,) = bench.app.executions
    assert (execution.method, execution.target) == ("PUT", "/pfad/%C3%BC%20x?a=1&b=%20")
    assert execution.body == b"\x00\xff" * 10
    own = [header for header in execution.header_list if header[0][:3] in "X-O Con"]
    assert own == [
        ("Content-Type", "application/json"),
        ("X-Own", "1"),
        ("X-Own", "2"),
    ]


async def test_a_body_has_a_type(bench: Bench) -> None:
    """As with dev_appserver.py: bytes, unless the task says what they are."""
    await bench.add("a", body=b"x")
    request = add_request("b", now=bench.clock.start)
    request.ClearField("body")
    await bench.api.bulk_add([request])
    await bench.runner.advance(0)
    types = [e.headers.get("content-type") for e in bench.app.executions]
    assert types == ["application/octet-stream", None]


async def test_the_headers_of_a_task(bench: Bench) -> None:
    """All that tell the app about the task, and the ETA without what was advanced."""
    await bench.runner.advance(1000)
    await bench.add("a", 60)
    await bench.runner.advance(60)
    (execution,) = bench.app.executions
    assert execution.at == 1060
    eta = execution.headers["x-appengine-tasketa"]
    assert float(eta) == bench.clock.start
    assert execution.headers == {
        "content-type": "application/octet-stream",
        "x-appengine-queuename": "default",
        "x-appengine-taskname": "a",
        "x-appengine-taskretrycount": "0",
        "x-appengine-taskexecutioncount": "0",
        "x-appengine-tasketa": eta,
    }


async def test_the_eta_is_what_the_app_has_asked_for(bench: Bench) -> None:
    """A task that runs late still has the ETA that it was added with."""
    await bench.runner.advance(1000)
    bench.queue().paused = True
    await bench.add("a", -5)
    await settled()
    bench.queue().paused = False
    await bench.runner.advance(0)
    eta = bench.app.executions[0].headers["x-appengine-tasketa"]
    assert float(eta) == bench.clock.start - 5


async def test_retries_say_so(bench: Bench) -> None:
    """Each has its number, how often the app has answered, and its last status."""
    bench.app.answers(500, 404)
    await bench.add("a")
    await bench.runner.advance(60)
    seen = [
        [
            execution.headers.get(f"x-appengine-task{name}")
            for name in ("retrycount", "executioncount", "previousresponse")
        ]
        for execution in bench.app.executions
    ]
    assert seen == [["0", "0", None], ["1", "1", "500"], ["2", "2", "404"]]


async def test_a_task_cannot_speak_for_app_engine(bench: Bench) -> None:
    """Its own X-AppEngine headers are dropped, except the namespace.

    So are its host, and what HTTP's framing is made of.
    """
    await bench.add(
        "a",
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
            ("X-Own", "stays"),
        ],
    )
    await bench.runner.advance(0)
    (execution,) = bench.app.executions
    names = [name.lower() for name, _ in execution.header_list]
    assert sorted(names) == [
        "content-type",
        "x-appengine-current-namespace",
        "x-appengine-queuename",
        "x-appengine-tasketa",
        "x-appengine-taskexecutioncount",
        "x-appengine-taskname",
        "x-appengine-taskretrycount",
        "x-own",
    ]
    assert execution.headers["x-appengine-current-namespace"] == "tenant"
    assert execution.headers["x-appengine-queuename"] == "default"
    assert execution.headers["x-appengine-taskretrycount"] == "0"


@pytest.mark.parametrize(
    ("options", "fields", "deadline"),
    [
        ({}, {}, 600),
        ({}, {"dispatch_deadline_usec": 15_000_000}, 15),
        ({}, {"dispatch_deadline_usec": 3600_000_000}, 600),
        ({"deadline": 30.0}, {}, 30),
    ],
)
async def test_the_deadline_is_passed_on(
    make_bench: Callable[..., Bench],
    options: dict[str, Any],
    fields: dict[str, Any],
    deadline: float,
) -> None:
    """Ten minutes, or less where the task has a deadline of its own."""
    bench = make_bench(**options)
    await bench.add("a", **fields)
    await bench.runner.advance(0)
    assert [execution.deadline for execution in bench.app.executions] == [deadline]


# --- the log -------------------------------------------------------------------------


async def test_the_log_tells_what_becomes_of_a_task(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """Added, started, failed with the next attempt, started again, done."""
    caplog.set_level(logging.INFO, "gae_devserver.task")
    bench.app.answers(500)
    await bench.add("a")
    await bench.runner.advance(1)
    texts = [record.getMessage() for record in caplog.records]
    assert texts[0] == "task a on default: /work, due now"
    assert texts[1] == "task a started"
    assert texts[2].startswith("task a 500 in ")
    assert texts[2].endswith(" ms; next attempt in 0.1 s")
    assert texts[3] == "task a started (attempt 2)"
    assert texts[4].startswith("task a 200 in ")
    assert len(texts) == 5
