"""Several queues, their limits, and queues that a worker pulls from."""

import itertools

import pytest
from gae_devserver.testing import wait_until

from tests.servers.contract_app import CaseError, ContractApp, Run
from tests.servers.embedded import Embedded


def most_at_once(runs: list[Run]) -> int:
    """Return how many runs of `hold` overlapped at most."""
    steps = sorted((run.time, 1 if run.extra["at"] == "start" else -1) for run in runs)
    return max(itertools.accumulate(step for _, step in steps), default=0)


def test_task_runs_from_its_own_queue(app: ContractApp) -> None:
    """A task knows the queue that it was added to."""
    app.defer("note", "one", _queue="other")
    app.defer("note", "two")
    app.server.run_due()

    queues = {run.label: run.headers["queuename"] for run in app.runs()}
    assert queues == {"one": "other", "two": "default"}


def test_purge_is_of_one_queue(app: ContractApp) -> None:
    """Purging a queue leaves the tasks of the others."""
    app.defer("note", "gone", _countdown=60)
    app.defer("note", "kept", _countdown=60, _queue="other")

    app.call("purge", "default")
    app.server.advance(65)

    assert [run.label for run in app.runs()] == ["kept"]


def test_statistics_count_the_tasks(app: ContractApp) -> None:
    """The task queue API returns how many tasks wait."""
    for _ in range(3):
        app.defer("note", "waiting", _countdown=60)

    assert app.call("statistics", "default", "tasks") == [3]
    assert app.call("statistics", "other", "tasks") == [0]


@pytest.mark.differs("statistics")
def test_statistics_count_the_runs(app: ContractApp) -> None:
    """The task queue API returns how many tasks have run, and how many are running."""
    for _ in range(3):
        app.defer("note", "done")
    app.server.run_due()

    # more than once: a random number may be the right one
    for _ in range(5):
        names = ("executed_last_minute", "in_flight")
        assert app.call("statistics", "default", *names) == [3, 0]


def test_many_tasks_lose_no_update(app: ContractApp) -> None:
    """Two hundred increments of one counter, added in bulk, all count."""
    app.call("enqueue_increments", 200, 10)
    app.server.run_due()
    # if a transaction loses against others, the task is retried
    app.server.advance(3600)

    assert app.count() == 2000
    assert app.server.tasks() == []


@pytest.mark.differs("one at a time")
def test_tasks_run_at_once(app: ContractApp) -> None:
    """A queue without a limit runs its tasks side by side."""
    for _ in range(5):
        app.defer("hold", "held")

    wait_until(lambda: len(app.runs("held")) == 5, "five tasks run at once")
    app.release()
    app.server.run_due()

    assert most_at_once(app.runs("held")) == 5


@pytest.mark.differs("one at a time")
def test_tasks_that_fetch_pages_of_their_own_app(app: ContractApp) -> None:
    """Sixteen at once get their page, and a visitor gets one meanwhile."""
    for _ in range(16):
        app.defer("fetch_together", "fetched", 16)
    # not == 16: the first one may already have its page
    wait_until(lambda: len(app.runs("fetched")) >= 16, "sixteen tasks run at once")
    assert app.server.get("/counter/get").text == "0"
    app.server.run_due()

    ends = [run.extra for run in app.runs("fetched")][16:]
    assert [end.get("answer") for end in ends] == [[200, "0"]] * 16


@pytest.mark.differs("one at a time")
def test_max_concurrent_requests(app: ContractApp) -> None:
    """A queue runs as many tasks at once as queue.yaml allows, and no more."""
    for _ in range(5):
        app.defer("hold", "held", _queue="pair")

    wait_until(lambda: len(app.runs("held")) == 2, "two tasks run at once")
    app.release()
    app.server.run_due()

    assert len(app.runs("held")) == 10
    assert most_at_once(app.runs("held")) == 2


@pytest.mark.differs("one at a time")
def test_long_task_does_not_hold_up_others(app: ContractApp) -> None:
    """While one task runs on, tasks of its own and of other queues are run."""
    app.defer("hold", "long")
    app.defer("note", "same queue")
    app.defer("note", "other queue", _queue="other")

    wait_until(lambda: len(app.runs()) == 3, "the short tasks run meanwhile")
    assert len(app.runs("long")) == 1
    app.release()
    app.server.run_due()
    assert len(app.runs("long")) == 2


@pytest.mark.differs("rate")
def test_rate_and_bucket_size(app: ContractApp) -> None:
    """A queue of one task a minute and a bucket of two runs two, then one a minute."""
    for _ in range(4):
        app.defer("note", "slow", _queue="slow")

    app.server.run_due()
    assert len(app.runs()) == 2
    app.server.advance(50)
    assert len(app.runs()) == 2
    app.server.advance(15)
    assert len(app.runs()) == 3
    app.server.advance(60)
    assert len(app.runs()) == 4


@pytest.mark.differs("rate")
def test_rate_0_holds_a_queue(app: ContractApp) -> None:
    """Tasks of a queue whose rate is 0 wait; other queues go on."""
    app.defer("note", "held", _queue="held")
    app.defer("note", "free")

    app.server.advance(3600)

    assert [run.label for run in app.runs()] == ["free"]
    assert len(app.server.tasks("held")) == 1


@pytest.mark.differs("pause")
def test_paused_queue_waits(app: ContractApp, embedded: Embedded) -> None:
    """A paused queue takes tasks and runs none until it is resumed."""
    embedded.pause("default")
    app.defer("note", "paused")
    app.server.advance(60)
    assert app.runs() == []

    embedded.resume("default")
    app.server.run_due()
    assert len(app.runs()) == 1


@pytest.mark.differs("failing purge")
def test_task_that_purges_its_queue_and_fails(app: ContractApp) -> None:
    """After such a task, other tasks still run."""
    app.defer("purge_own_queue", "purging", "default")
    app.server.run_due()
    app.defer("note", "after")
    app.server.run_due()

    assert [run.label for run in app.runs()] == ["purging", "after"]
    assert app.server.tasks() == []


def test_worker_leases_from_a_pull_queue(app: ContractApp) -> None:
    """A pull queue sends nothing; a leased task returns until its worker deletes it."""
    app.call("pull_add", "work")
    app.server.run_due()
    ((name, payload, first),) = app.call("lease", "pull", 60)
    assert payload == "work"

    app.server.advance(50)
    assert app.call("lease", "pull", 60) == []
    app.server.advance(15)
    assert app.call("lease", "pull", 60) == [[name, "work", first + 1]]

    app.call("delete", "pull", name)
    assert app.server.tasks("pull") == []


def test_push_queue_cannot_be_leased_from(app: ContractApp) -> None:
    """Leasing is for pull queues."""
    with pytest.raises(CaseError) as error:
        app.call("lease", "default", 60)

    assert error.value.kind == "InvalidQueueModeError"
