"""Several queues, and what limits them."""

import pytest
from gae_devserver.testing import wait_until

from tests.servers.contract_app import ContractApp


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


@pytest.mark.differs("rate")
def test_rate_and_bucket_size(app: ContractApp) -> None:
    """A queue of one task a minute and a bucket of two runs two, then one a minute."""
    for _ in range(4):
        app.defer("note", "slow", _queue="slow")

    for seconds, runs in ((0, 2), (50, 2), (15, 3), (60, 4)):
        app.server.advance(seconds)
        assert len(app.runs()) == runs


@pytest.mark.differs("rate")
def test_rate_0_holds_a_queue(app: ContractApp) -> None:
    """Tasks of a queue whose rate is 0 wait; other queues still run."""
    app.defer("note", "held", _queue="held")
    app.defer("note", "free")

    app.server.advance(3600)

    assert [run.label for run in app.runs()] == ["free"]
    assert len(app.server.tasks("held")) == 1


@pytest.mark.differs("failing purge")
def test_task_that_purges_its_queue_and_fails(app: ContractApp) -> None:
    """After a task has purged its own queue and failed, other tasks still run."""
    app.defer("purge_own_queue", "purging", "default")
    app.server.run_due()
    app.defer("note", "after")
    app.server.run_due()

    assert [run.label for run in app.runs()] == ["purging", "after"]
    assert app.server.tasks() == []
