"""Which service gets a task, and what waits while a service does not run."""

import asyncio
import datetime
import functools
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import pytest_asyncio

from gae_devserver.app.supervisor import AppUnavailable
from gae_devserver.config.dispatch_yaml import DispatchRule
from gae_devserver.config.queue_yaml import QueueConfig
from tests.helpers.calls import HOSTNAME, add_request
from tests.helpers.waiting import settled, until
from tests.unit.conftest import Bench, MakeBench

pytestmark = pytest.mark.asyncio

TO_WORKER = [("Host", f"worker.{HOSTNAME}")]


@pytest_asyncio.fixture
async def bench(make_bench: MakeBench) -> Bench:
    """A task runner for the services default and worker."""
    made: Bench = make_bench(others=["worker"])
    return made


# --- the service of a task -----------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "host", "caller", "service"),
    [
        (None, "", "default", "default"),
        (None, "", "worker", "worker"),
        (None, "localhost:8081", "worker", "worker"),
        (None, "www.example.com", "worker", "worker"),
        (None, "jobs.localhost:8080", "worker", "worker"),
        (None, "default.localhost:8080", "worker", "default"),
        (None, "worker.localhost:1", "default", "worker"),
        (None, "v1.worker.localhost", "default", "worker"),
        (None, "0.v1.worker.localhost:80", "default", "worker"),
        ("v1.worker", "default.localhost:8080", "default", "worker"),
        ("default", "", "worker", "default"),
    ],
)
async def test_the_service_that_gets_a_task(
    make_bench: MakeBench, target: str | None, host: str, caller: str, service: str
) -> None:
    """The target of the queue, then that of the task, then the service that adds it.

    This is noted before the commit of a transaction that adds the task. A host of
    dispatch.yaml that is no service, which the SDK sends after a visit, is no target.
    """
    rule = DispatchRule("jobs.localhost", "/*", "worker", "dispatch.yaml, line 2")
    bench = make_bench(
        QueueConfig("work", target=target), others=["worker"], rules=[rule]
    )
    headers = [("Host", host)] if host else []
    api = bench.server.request(service=caller)
    transaction = await api.begin()
    options: list[dict[str, Any]] = [{}, {"transaction": transaction}]
    for fields in options:
        now = bench.clock.start
        await api.add(queue="work", now=now, headers=headers, **fields)
    await api.commit(transaction)
    await bench.runner.advance(0)
    assert [execution.service for execution in bench.app.executions] == [service] * 2


async def test_the_tasks_of_a_queue_that_gets_a_target(make_bench: MakeBench) -> None:
    """Tasks that wait follow a changed queue.yaml."""
    bench = make_bench(QueueConfig("work"), others=["worker"])
    bench.app.fail("it has died", "worker")
    await bench.add_many(3, queue="work", headers=TO_WORKER)
    for mode in ("pull", "push"):  # no service gets the tasks of a pull queue
        bench.configure(QueueConfig("work", target="default", mode=mode))
        queue = bench.queue("work")
        services = {queue.service_of(task) for task in queue.tasks_by_eta(3)}
        assert services == {"default" if mode == "push" else ""}
    assert await bench.runner.advance(0) == 3
    assert {execution.service for execution in bench.app.executions} == {"default"}


async def test_a_task_for_a_service_that_is_gone(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """An attempt fails and names the services that run; other tasks go on."""
    gone = [("Host", f"gone.{HOSTNAME}")]
    add = add_request("a", now=bench.clock.start, headers=gone)
    bench.queue().Add(add, datetime.datetime.now(datetime.UTC))
    await bench.add("b")
    await bench.runner.advance(0)
    assert bench.app.names == ["b"]
    (failed,) = [text for text in caplog.messages if "gone" in text]
    assert "default, worker" in failed
    assert [task.retry_count for task in await bench.api.tasks()] == [1]


async def test_the_log_names_the_service(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """With several services, each task is logged with the one that gets it."""
    caplog.set_level("INFO", "gae_devserver.task")
    await bench.add("a", headers=TO_WORKER)
    await bench.runner.advance(0)
    added, ended = caplog.messages
    assert "on default for worker" in added
    assert ended.startswith("[worker] task a ")


async def test_the_rate_of_a_queue_holds_for_all_services(
    make_bench: MakeBench,
) -> None:
    """Its tasks get their tokens in the order of their ETAs."""
    slow = QueueConfig("slow", rate=1.0, bucket_size=1)
    bench = make_bench(slow, others=["worker"])
    for name, headers in zip("abcdef", [[], TO_WORKER, TO_WORKER] * 2, strict=True):
        await bench.add(name, queue="slow", headers=headers)
    await bench.runner.advance(10)
    assert bench.app.names == list("abcdef")
    assert bench.app.times == [0, 1, 2, 3, 4, 5]


# --- a service that does not run -----------------------------------------------------


async def test_only_the_tasks_for_a_dead_service_wait(bench: Bench) -> None:
    """All others run, also behind them in the queue; then an advance says why.

    No attempt is counted, and the tasks run when the service is back.
    """
    bench.app.fail("a syntax error", "worker")
    await bench.add_many(20, headers=TO_WORKER)
    await bench.add("now")
    await bench.add("later", 30)
    await until(lambda: bench.app.names == ["now"])
    with pytest.raises(AppUnavailable) as unavailable:
        await bench.runner.advance(60)
    for fact in ("20", "worker", "a syntax error"):
        assert fact in str(unavailable.value)
    assert bench.app.names == ["now", "later"]
    assert bench.clock.elapsed() == 60
    bench.app.fail(None, "worker")
    await until(lambda: bench.runner.finished == 22)
    retries = [e.headers["x-appengine-taskretrycount"] for e in bench.app.executions]
    assert set(retries) == {"0"}
    assert await bench.runner.advance(60) == 0


@pytest.mark.parametrize("what", ["advance", "run_next", "run_now"])
async def test_a_service_that_starts_is_waited_for(bench: Bench, what: str) -> None:
    """An advance, and what else runs a task, continues when the service is ready."""
    bench.app.started.clear()
    await bench.add("a", headers=TO_WORKER)
    runs: dict[str, Callable[[], Coroutine[Any, Any, object]]] = {
        "advance": functools.partial(bench.runner.advance, 0),
        "run_next": bench.runner.run_next,
        "run_now": functools.partial(bench.runner.run_now, bench.queue(), "a"),
    }
    call = asyncio.create_task(runs[what]())
    await until(lambda: bench.app.waiting)
    bench.app.started.set()
    await call
    await until(lambda: bench.app.names == ["a"])


async def test_a_task_for_a_dead_service_is_not_run_now(bench: Bench) -> None:
    """The caller gets the reason of that service; tasks for others can run."""
    bench.app.fail("it has died", "worker")
    await bench.add("a", headers=TO_WORKER)
    await bench.add("b", 60)
    with pytest.raises(AppUnavailable, match="it has died"):
        await bench.runner.run_now(bench.queue(), "a")
    assert await bench.runner.run_now(bench.queue(), "b") is not None
    await until(lambda: bench.app.names == ["b"])


async def test_each_service_has_a_limit_of_its_own(bench: Bench) -> None:
    """As many tasks of one service run at once, however many of another run."""
    release = bench.hold(*[200] * 32)
    await bench.add_many(20, headers=TO_WORKER)
    await until(lambda: bench.app.running == 16)
    for _ in range(20):
        await bench.add()
    await until(lambda: bench.app.running == 32)
    await settled()
    release.set()
    await until(lambda: bench.runner.finished == 40)
    assert bench.app.peak == 32


async def test_a_task_takes_the_same_time_with_any_number_that_wait(
    make_bench: MakeBench,
) -> None:
    """Tasks that wait for a dead service in the same queue are not looked at."""

    async def seconds(waiting: int) -> float:
        bench = make_bench(others=["worker"])
        bench.app.fail("it has died", "worker")
        await bench.add_many(waiting, headers=TO_WORKER)
        await bench.add()
        await until(lambda: bench.runner.finished == 1)
        began = time.process_time()
        for _ in range(200):
            await bench.add()
        await until(lambda: bench.runner.finished == 201)
        return time.process_time() - began

    few = await seconds(1)
    # twice, because the garbage collector may run meanwhile
    assert min(await seconds(10_000), await seconds(10_000)) < 10 * few
