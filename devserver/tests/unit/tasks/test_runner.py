"""Which task runs when: ETA, rate, concurrency, and the virtual clock."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from google.appengine.api import queueinfo
from google.appengine.api.taskqueue import taskqueue_service_bytes_pb2 as pb

from gae_devserver.app.supervisor import AppUnavailable
from gae_devserver.clock import Clock
from gae_devserver.config.queue_yaml import QueueConfig
from gae_devserver.tasks.runner import TaskRunner
from tests.helpers.calls import PULL, Server
from tests.helpers.clock import StoppedClock
from tests.helpers.recording_app import App
from tests.helpers.waiting import settled, until
from tests.unit.conftest import Bench, MakeBench

pytestmark = pytest.mark.asyncio


# --- when tasks are due --------------------------------------------------------------


async def test_a_task_runs_when_real_time_has_come(
    make_server: Callable[..., Server],
) -> None:
    """A countdown needs no advance, also if the task waits before the start."""
    clock, ran = Clock(), []
    server = make_server(clock=clock)

    async def dispatch(*_: Any, **__: Any) -> int:
        ran.append(clock.now())
        return 200

    due = clock.now() + 0.05
    await server.request().add(now=due)
    runner = TaskRunner(server.services.taskqueue, clock, dispatch, App(StoppedClock()))
    runner.start()
    await until(lambda: ran)
    await runner.stop()
    # the stub keeps whole microseconds
    assert ran[0] >= due - 1e-6


async def test_an_advance_waits_for_the_end_of_its_tasks(bench: Bench) -> None:
    """The clock stands still while a task runs."""
    release = bench.hold(200)
    await bench.add("slow", 10)
    await bench.add("next", 20)
    advance = asyncio.create_task(bench.runner.advance(60))
    await until(lambda: bench.app.running)
    await settled()
    assert not advance.done()
    assert bench.clock.elapsed() == 10
    release.set()
    assert await advance == 2
    assert bench.app.names == ["slow", "next"]


async def test_two_advances_at_once_follow_each_other(bench: Bench) -> None:
    """Each advance adds its seconds and counts its own tasks."""
    for due_in in (5, 15, 25):
        await bench.add(due_in=due_in)
    advances = [bench.runner.advance(10), bench.runner.advance(20)]
    assert await asyncio.gather(*advances) == [1, 2]
    assert bench.clock.elapsed() == 30
    assert bench.app.times == [5, 15, 25]


async def test_a_reset_ends_an_advance(bench: Bench) -> None:
    """The clock stays where the reset has put it."""
    release = bench.hold(200)
    await bench.add("a")
    advance = asyncio.create_task(bench.runner.advance(3600))
    await until(lambda: bench.app.running)
    bench.clock.reset()
    bench.runner.reset()
    release.set()
    await advance
    assert bench.clock.elapsed() == 0


async def test_a_forced_run_of_a_task_that_is_running(bench: Bench) -> None:
    """A running task is not started again; a failure is retried as usual."""
    release = bench.hold(500)
    await bench.add("a")
    await until(lambda: bench.app.running)
    bench.queue().RunTaskNow(bench.queue().find("a"))
    await settled()
    assert bench.app.running == 1
    release.set()
    await bench.runner.advance(60)
    assert bench.app.times == [0, 0.1]
    assert bench.app.peak == 1


async def test_tasks_of_a_pull_queue_are_not_sent(make_bench: MakeBench) -> None:
    """Pull tasks wait to be leased, until queue.yaml makes the queue a push queue."""
    bench = make_bench(QueueConfig("work", mode="pull"))
    await bench.add("a", queue="work", mode=PULL)
    assert await bench.runner.advance(3600) == 0
    assert await bench.api.names("work") == ["a"]
    bench.configure(QueueConfig("work"))
    await until(lambda: bench.app.names == ["a"])


# --- the app is not there ------------------------------------------------------------


async def test_an_app_that_does_not_run_costs_no_attempt(bench: Bench) -> None:
    """The task waits; an advance says why it cannot continue."""
    bench.app.fail("the app has a syntax error")
    await bench.add("a")
    async with asyncio.timeout(10):
        with pytest.raises(AppUnavailable, match="syntax error"):
            await bench.runner.advance(60)
    assert bench.clock.elapsed() == 0
    assert [task.retry_count for task in await bench.api.tasks()] == [0]
    assert not bench.queue().running
    bench.app.fail(None)
    await until(lambda: bench.runner.finished)
    last = bench.app.executions[-1].headers
    assert last["x-appengine-taskretrycount"] == "0"
    assert last["x-appengine-taskexecutioncount"] == "0"
    assert await bench.runner.advance(60) == 0
    assert bench.clock.elapsed() == 60


async def test_a_task_that_an_advance_could_not_run(bench: Bench) -> None:
    """It became due by the advance, so it runs when the app is back."""
    await bench.add("a", 3600)
    bench.app.fail("the app restarts")
    with pytest.raises(AppUnavailable):
        await bench.runner.advance(7200)
    bench.app.fail(None)
    await until(lambda: bench.app.times == [3600])


async def test_a_task_that_could_not_be_sent_waits_again(bench: Bench) -> None:
    """If the app dies before the task is sent, this is not an attempt."""
    bench.app.answers(AppUnavailable("the app has died"))
    await bench.add("a")
    assert await bench.runner.advance(0) == 1
    retries = [e.headers["x-appengine-taskretrycount"] for e in bench.app.executions]
    assert retries == ["0", "0"]
    assert await bench.api.names() == []


@pytest.mark.parametrize("what", ["purge", "pause", "reset"])
async def test_a_task_that_waits_for_the_app_can_be_stopped(
    bench: Bench, what: str
) -> None:
    """A task that was held or deleted meanwhile is not sent when the app is back."""
    bench.app.fail("the app has a syntax error")
    await bench.add_many(20)
    with pytest.raises(AppUnavailable):
        await bench.runner.advance(0)
    match what:
        case "purge":
            bench.queue().PurgeQueue()
        case "pause":
            bench.queue().paused = True
        case "reset":
            bench.server.services.taskqueue.clear()
            bench.runner.reset()
    bench.app.fail(None)
    bench.runner.wake()
    assert await bench.runner.advance(60) == 0
    assert bench.app.executions == []


# --- rate, bucket, concurrency, pause ------------------------------------------------


@pytest.mark.parametrize(
    ("size", "times"),
    [
        (-1, [0, 0.5, 1, 1.5, 2]),  # a bucket without tokens would hold the queue
        (0, [0, 0.5, 1, 1.5, 2]),
        (1, [0, 0.5, 1, 1.5, 2]),
        (3, [0, 0, 0, 0.5, 1]),
        (100, [0, 0, 0, 0, 0]),
    ],
)
async def test_the_rate_and_the_bucket_of_a_queue(
    make_bench: MakeBench, size: int, times: list[float]
) -> None:
    """A full bucket lets `bucket_size` tasks run at once; then `rate` run a second."""
    bench = make_bench(QueueConfig("default", rate=2.0, bucket_size=size))
    await bench.runner.advance(1000)
    await bench.add_many(5)
    async with asyncio.timeout(10):
        await bench.runner.advance(60)
    assert bench.app.times == [1000 + time for time in times]


async def test_a_bucket_stays_empty_if_its_queue_did_not_change(
    make_bench: MakeBench,
) -> None:
    """An edit of another setting gives the queue no new tokens."""

    def settings() -> QueueConfig:
        retry = queueinfo.RetryParameters(task_retry_limit=3)
        return QueueConfig("default", rate=0.1, bucket_size=1, retry_parameters=retry)

    bench = make_bench(settings())
    await bench.add_many(2)
    await bench.runner.advance(0)
    bench.server.services.taskqueue.update([settings()])
    await bench.runner.advance(0)
    assert bench.app.times == [0]


async def test_the_rate_also_holds_for_retries(make_bench: MakeBench) -> None:
    """A task that fails takes another token."""
    bench = make_bench(QueueConfig("default", rate=0.1, bucket_size=1))
    bench.app.answers(500)
    await bench.add("a")
    await bench.runner.advance(60)
    assert bench.app.times == [0, 10]


async def test_a_bucket_fills_again_after_the_clock_was_reset(
    make_bench: MakeBench,
) -> None:
    """The bucket does not wait until the clock reaches its old time again."""
    bench = make_bench(QueueConfig("default", rate=1.0, bucket_size=1))
    await bench.runner.advance(3600)
    await bench.add("a")
    await bench.runner.advance(0)
    bench.clock.reset()
    await bench.add("b")
    await bench.runner.advance(2)
    assert bench.app.names == ["a", "b"]
    assert bench.clock.elapsed() == 2


async def test_a_bucket_is_new_after_a_change(make_bench: MakeBench) -> None:
    """After a change of queue.yaml, waiting tasks run at the new rate."""
    bench = make_bench(QueueConfig("default", rate=0.001, bucket_size=1))
    await bench.add("a")
    await bench.runner.advance(1)
    await bench.add_many(2)
    bench.configure(QueueConfig("default", rate=1.0, bucket_size=1))
    await bench.runner.advance(10)
    assert bench.app.times == [0, 1, 2]


async def test_a_held_queue(make_bench: MakeBench) -> None:
    """An advance passes its tasks; they run when the queue has a rate again."""
    bench = make_bench(QueueConfig("work", rate=0.0))
    await bench.add("a", queue="work")
    await bench.add("b", 30)
    async with asyncio.timeout(10):
        assert await bench.runner.advance(60) == 1
        assert await bench.runner.advance_to_next_task() == 0
    assert bench.app.names == ["b"]
    assert bench.runner.next_due() is None
    assert await bench.api.names("work") == ["a"]
    await settled()
    bench.configure(QueueConfig("work"))
    await until(lambda: bench.app.names == ["b", "a"])


@pytest.mark.parametrize(
    ("config", "options", "peak"),
    [
        (QueueConfig("work"), {}, 16),
        (QueueConfig("work"), {"max_running": 2}, 2),
        (QueueConfig("work", max_concurrent_requests=3), {}, 3),
    ],
)
async def test_tasks_that_run_at_once(
    make_bench: MakeBench, config: QueueConfig, options: dict[str, Any], peak: int
) -> None:
    """As many run as the queue and the server allow, and no more."""
    bench = make_bench(config, **options)
    release = bench.hold(*[200] * peak)
    await bench.add_many(40, queue="work")
    await until(lambda: bench.app.running == peak)
    await settled()
    release.set()
    # without an advance: the end of a task starts the next one
    await until(lambda: bench.runner.finished == 40)
    assert bench.app.peak == peak


async def test_a_long_queue_does_not_hold_up_another(make_bench: MakeBench) -> None:
    """The next task comes from the queue that runs the fewest; the limit is shared."""
    bench = make_bench(QueueConfig("long"), QueueConfig("short"))
    release = bench.hold(*[200] * 16)
    await bench.add_many(100, queue="long")
    await until(lambda: bench.app.running == 16)
    for number in range(5):
        await bench.add(f"short-{number}", queue="short")
    await settled()
    release.set()
    await bench.runner.advance(0)
    assert bench.app.peak == 16
    places = [bench.app.names.index(f"short-{number}") for number in range(5)]
    assert len(bench.app.names) == len(set(bench.app.names)) == 105
    assert max(places) < 50


async def test_an_add_takes_the_same_time_with_any_number_of_queues(
    make_bench: MakeBench,
) -> None:
    """Other queues, and the tasks that wait in them, are not looked at."""

    async def seconds(*others: str) -> float:
        bench = make_bench(*map(QueueConfig, others))
        for queue in others:
            await bench.add(due_in=60, queue=queue)
        await settled()
        began = time.process_time()
        for _ in range(200):
            await bench.add()
            await settled(2)
        return time.process_time() - began

    # it was 50 times as long
    few, many = await seconds(), [f"q{number}" for number in range(1000)]
    # twice, because the garbage collector may run meanwhile
    assert min(await seconds(*many), await seconds(*many)) < 10 * few


# --- what may happen while a task runs -----------------------------------------------


async def test_a_name_that_is_used_again_while_the_old_task_runs(bench: Bench) -> None:
    """After a reset, a task of the same name is another task, and runs."""
    release = bench.hold(500)
    await bench.add("a", body=b"old")
    await until(lambda: bench.app.running)
    bench.server.services.taskqueue.clear()
    await bench.add("a", body=b"new")
    await settled()
    assert bench.app.peak == 1
    release.set()
    async with asyncio.timeout(10):
        await bench.runner.advance(60)
    assert [execution.body for execution in bench.app.executions] == [b"old", b"new"]
    assert await bench.api.names() == []


async def test_a_queue_that_goes_while_its_task_runs(make_bench: MakeBench) -> None:
    """The runner continues; the task is retried when the queue is back."""
    bench = make_bench(QueueConfig("work"))
    release = bench.hold(500)
    await bench.add("a", queue="work")
    await until(lambda: bench.app.running)
    bench.configure()
    release.set()
    await bench.add("b", 10)
    await bench.runner.advance(60)
    assert bench.app.names == ["a", "b"]
    bench.configure(QueueConfig("work"))
    await until(lambda: bench.app.names == ["a", "b", "a"])


async def test_quiet_waits_for_the_end_of_running_tasks(bench: Bench) -> None:
    """`quiet` waits until no task runs, and cancels those that exceed its limit."""
    release = bench.hold(200)
    await bench.add("a")
    await until(lambda: bench.app.running)
    quiet = asyncio.create_task(bench.runner.quiet(20))
    await settled()
    assert not quiet.done()
    release.set()
    await quiet
    assert await bench.api.names() == []
    bench.hold(200)
    await bench.add("b")
    await until(lambda: bench.app.running)
    await bench.runner.quiet(0)
    assert not bench.app.running


async def test_a_stop_cancels_running_tasks(bench: Bench) -> None:
    """Nothing of the runner is left in the loop."""
    before = asyncio.all_tasks()
    bench.hold(200, 200, 200)
    await bench.add_many(3)
    await until(lambda: bench.app.running == 3)
    await bench.runner.stop()
    assert bench.app.running == 0
    assert asyncio.all_tasks() <= before


async def test_statistics_are_counted(bench: Bench) -> None:
    """The stub draws random numbers; here the same question has the same answer."""

    async def statistics() -> Any:
        request = pb.TaskQueueFetchQueueStatsRequest(queue_name=[b"default"])
        answer = await bench.api.call("taskqueue", "FetchQueueStats", request)
        return answer.queuestats[0]

    await bench.add()
    await bench.runner.advance(30)
    await bench.add_many(3)
    await bench.runner.advance(45)
    release = bench.hold(200)
    await bench.add("runs")
    await bench.add("waits", 60)
    await until(lambda: bench.app.running)
    stats = await statistics()
    assert stats == await statistics()
    assert stats.num_tasks == 2
    # the clock is 75 s ahead of the app
    assert stats.oldest_eta_usec == int(bench.clock.start * 1e6)
    info = stats.scanner_info
    assert (info.executed_last_minute, info.executed_last_hour) == (3, 4)
    assert (info.requests_in_flight, info.enforced_rate) == (1, 0)
    release.set()
    await bench.runner.advance(7200)
    assert (await statistics()).scanner_info.executed_last_hour == 0
    # an execution is forgotten after an hour
    await bench.add("last")
    await bench.runner.advance(0)
    assert bench.queue().finished_since(0) == 1
