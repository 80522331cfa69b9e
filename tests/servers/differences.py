"""Where the two dev servers differ, and why. No other module tells them apart.

A fault of the embedded server does not belong here: fix it instead.
"""

from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Difference:
    """One case in which the servers behave differently.

    The tests that an entry marks must fail on dev_appserver.py. If they are `skipped`
    there, tests/servers/test_dev_appserver.py shows what the entry says. `library` is
    the NDB library with which the servers differ; None means both.
    """

    case: str
    dev_appserver: str
    embedded: str
    reason: str
    skipped: bool = False
    library: str | None = None

    def expectation(self) -> pytest.MarkDecorator:
        """Return the mark for dev_appserver.py of a test that this entry marks."""
        reason = f"{self.case}: {self.dev_appserver}"
        if self.skipped:
            return pytest.mark.skip(reason=reason)
        # any other error, such as a server that ended, is not the difference
        wrong = (AssertionError, pytest.fail.Exception)
        return pytest.mark.xfail(reason=reason, raises=wrong, strict=True)


DIFFERENCES = {
    "rate": Difference(
        case="`rate` and `bucket_size` of `queue.yaml`, including a rate of 0",
        dev_appserver="ignores them and runs every task that is due",
        embedded="enforces them",
        reason="Production enforces them, and a rate of 0 holds a queue.",
    ),
    "one at a time": Difference(
        case="tasks that run at once, and `max_concurrent_requests`",
        dev_appserver="runs one task at a time, over all queues",
        embedded="runs 16 at a time, or as many as the queue allows",
        reason="Production runs many at once, and only then can updates get lost.",
        skipped=True,  # they would wait a minute for something that never runs
    ),
    "target": Difference(
        case="`_target` that names another service",
        dev_appserver="ignores it, and the app itself gets the task",
        embedded="refuses it with an error that names the service",
        reason="Only one service runs here; a task must not run in the wrong one.",
    ),
    "pause": Difference(
        case="pausing a queue",
        dev_appserver="is not possible",
        embedded="is an operation of the State API",
        reason="Production's console can do it.",
        skipped=True,  # they ask the State API
    ),
    "age limit": Difference(
        case="`task_age_limit` and the virtual clock",
        dev_appserver="counts real seconds, which no test can advance",
        embedded="counts seconds of the virtual clock",
        reason="Its scheduler uses only the real clock.",
    ),
    "clock in headers": Difference(
        case="`X-AppEngine-TaskETA` of a task that runs before its time",
        dev_appserver="is 0.0",
        embedded="is the app's time at which the task was due",
        reason="Tests run tasks early through ForceRun, which sets the ETA to 0.",
    ),
    "failing purge": Difference(
        case="a task that purges its own queue and then fails",
        dev_appserver="ends its scheduler: no task runs until a restart",
        embedded="drops the task, and the others go on",
        reason="The SDK's scheduler has a bug that production does not have.",
        skipped=True,  # all tests after it would fail
    ),
    "dots": Difference(
        case="`/evil/../custom/path`",
        dev_appserver="redirects to `/custom/path`",
        embedded="passes it to the app, which answers 404",
        reason="Google's code says that production redirects too. Here the app's own "
        "routes refuse it, whatever server is in front of them.",
    ),
    "escapes": Difference(
        case="an escape in a path (`/custom%2Fpath`) or in the `_url` of a task",
        dev_appserver="escapes its % again, and the app answers 404",
        embedded="decodes it once: the path is `/custom/path`",
        reason="gunicorn decodes the path, in production too.",
    ),
    "statistics": Difference(
        case="a queue's `executed_last_minute`, `in_flight` and `enforced_rate`",
        dev_appserver="are random numbers; `tasks` and `oldest_eta_usec` are right",
        embedded="are counted",
        reason="Production counts them.",
    ),
    "caching": Difference(
        case="`Cache-Control` and `Expires` of an answer that has neither",
        dev_appserver="adds `Cache-Control: no-cache`, and an `Expires` in the past",
        embedded="adds nothing",
        reason="The client must see what the app sent.",
    ),
    "restart": Difference(
        case="entities and tasks after a restart of the server",
        dev_appserver="loses the tasks, and starts task names again at task1",
        embedded="keeps both with `--storage`, and never reuses a name",
        reason="Production keeps them, and shared/once.py takes a task whose name was "
        "used before for a repeat.",
        skipped=True,  # they start their own servers
    ),
    "two stores": Difference(
        case="an entity of Cloud NDB, read through the bundled datastore",
        dev_appserver="is missing: Cloud NDB needs a Datastore emulator beside it",
        embedded="is the same entity: one store serves both",
        reason="In production both libraries use the project's one database.",
        library="cloud",
    ),
}
"""The key that a test's `differs` marker names -> the difference."""
