"""The rows of two tables: where the dev servers differ, and what Cloud Tasks changes.

docs/differences.md has the first, docs/cloud-tasks.md the second. A test that a row
marks must fail there. No other module tells the two sides apart. A fault of the
embedded server does not belong there: fix it instead.
"""

import sys
from dataclasses import dataclass

import pytest

from tests.servers.contract_app import CaseError


@dataclass(frozen=True)
class Difference:
    """A row on dev_appserver.py, known by the start of its first cell.

    The tests that it marks must fail on dev_appserver.py. If they are `skipped` there,
    tests/servers/test_dev_appserver.py shows what the row says. `library` is the NDB
    library with which the servers differ; None means both. `probe` has patterns of the
    cases of tests/probe that must differ; no other test needs such a row.
    """

    case: str
    skipped: bool = False
    library: str | None = None
    probe: tuple[str, ...] = ()

    def expectation(self) -> pytest.MarkDecorator:
        """Return the mark for dev_appserver.py of a test that this row marks."""
        reason = f"docs/differences.md: {self.case}"
        if self.skipped:
            return pytest.mark.skip(reason=reason)
        # any other error, such as a server that ended, is not the difference
        wrong = (AssertionError, pytest.fail.Exception)
        return pytest.mark.xfail(reason=reason, raises=wrong, strict=True)


@dataclass(frozen=True)
class Change:
    """A row on Cloud Tasks, known by the start of its first cell.

    The tests that it marks must fail with Cloud Tasks, on this Python and newer ones.
    """

    case: str
    since: tuple[int, int] = (3, 0)

    @property
    def holds(self) -> bool:
        """Whether the row is about the Python that runs the tests, and the apps."""
        return sys.version_info >= self.since

    def expectation(self) -> pytest.MarkDecorator:
        """Return the mark, for an app whose tasks go to Cloud Tasks."""
        reason = f"docs/cloud-tasks.md: {self.case}"
        wrong = (AssertionError, pytest.fail.Exception, CaseError)
        return pytest.mark.xfail(reason=reason, raises=wrong, strict=True)


DEV_APPSERVER = {
    "rate": Difference("`rate` and `bucket_size` of `queue.yaml`"),
    # skipped: they would wait a minute for something that never runs
    "one at a time": Difference("tasks that run at once", skipped=True),
    "target": Difference("`_target` that names a service that does not run"),
    # skipped: they use the State API
    "pause": Difference("pausing a queue", skipped=True),
    "age limit": Difference("`task_age_limit`"),
    "clock in headers": Difference("`X-AppEngine-TaskETA`"),
    # skipped: all tests after them would fail
    "failing purge": Difference("a task that purges its own queue", skipped=True),
    "dots": Difference("`/evil/../custom/path`"),
    "headers": Difference("a header of a task with several values"),
    "escapes": Difference("an escape in a path"),
    "statistics": Difference("a queue's `executed_last_minute`"),
    "caching": Difference("`Cache-Control` and `Expires`"),
    # skipped: they start their own servers
    "restart": Difference("entities and tasks after a restart", skipped=True),
    "two stores": Difference("an entity of Cloud NDB", library="cloud"),
    "errors": Difference(
        "a call that fails with an error",
        probe=(
            "blobstore: delete empty",
            "blobstore: fetch_data empty",
            "blobstore: fetch_data long key",
            "datastore: put over 1 MiB",
            "modules: get_default_version",
            "modules: get_hostname of *",
            "modules: get_versions",
            "refused: *",
            "search: expression 1 / 0",
            "search: expression log*",
            "search: expression pow*",
            "search: facets of ranges",
            "search: put text 1 MB",
            "search: vector *",
            "urlfetch: headers with line end",
            "urlfetch: payload over 10 MB",
            "urlfetch: url unicode",
            "urlfetch: url with *port",
        ),
    ),
    "fetching": Difference(
        "`urlfetch` of a host",
        probe=(
            "urlfetch: deadline 0",
            "urlfetch: host unknown",
            "urlfetch: url with space",
        ),
    ),
    "unsupported": Difference("`switch()` in", probe=("search: expression switch*",)),
    "usage": Difference("`runtime.cpu_usage()`", probe=("system: memory_usage",)),
    "pictures": Difference("`images`", probe=("images: *",)),
}
"""The key that a test's `differs` marker names -> the row."""

THREADS = "threads"
"""The row that leaves no call working, on the Pythons that it is about."""

CLOUD_TASKS = {
    THREADS: Change("a call on Python 3.13 and newer", since=(3, 13)),
    "namespace": Change("the namespace in which a task is added"),
    "url": Change("a task without a URL"),
    "version": Change("the version that runs a task"),
    "headers": Change("a header with several values, or with a number"),
    "doublings": Change("`max_doublings=0` in a task's retry options"),
    "deadline": Change("`dispatch_deadline_usec`"),
    "group": Change("a transaction with a task and one entity group"),
    "inside": Change("a task of an independent transaction inside another one"),
    "unknown queue": Change("a transactional task for a queue that does not exist"),
    "wait": Change("`UserRPC.wait_any` and `UserRPC.wait_all`"),
}
"""The key that a test's `changes` marker names -> the row."""

_NO_CALLS = CLOUD_TASKS[THREADS]
NEEDS_CALLS = pytest.mark.skipif(
    _NO_CALLS.holds, reason=f"docs/cloud-tasks.md: {_NO_CALLS.case}"
)
"""Marks a test of an app whose calls of Cloud Tasks must work."""
