"""Where the two dev servers differ, and why. Nowhere else is a server told apart.

A fault of the embedded server does not belong here: it is mended.
"""

from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Difference:
    """One case in which the servers behave differently.

    The tests that a line marks have to fail on dev_appserver.py, or the line is not
    true. Where they are `skipped` there, tests/servers/test_dev_appserver.py has a test
    that shows what the line says. `library` is the one with which they differ, if not
    with both.
    """

    case: str
    dev_appserver: str
    embedded: str
    reason: str
    skipped: bool = False
    library: str | None = None

    def expectation(self) -> pytest.MarkDecorator:
        """Return what a test that this line marks has to do on dev_appserver.py."""
        reason = f"{self.case}: {self.dev_appserver}"
        if self.skipped:
            return pytest.mark.skip(reason=reason)
        # no other error: that the server ended, or took too long, is no difference
        wrong = (AssertionError, pytest.fail.Exception)
        return pytest.mark.xfail(reason=reason, raises=wrong, strict=True)


DIFFERENCES = {
    "rate": Difference(
        case="rate and bucket_size of queue.yaml, a rate of 0 among them",
        dev_appserver="ignored: every task that is due is run",
        embedded="kept",
        reason="Production keeps them, and a rate of 0 is how a queue is held.",
    ),
    "one at a time": Difference(
        case="tasks that run at once, and max_concurrent_requests",
        dev_appserver="one task at a time over all queues",
        embedded="16 at a time, or as many as the queue allows",
        reason="Production runs many at once, and only then can updates be lost.",
        skipped=True,  # for a minute they would wait for what never runs
    ),
    "target": Difference(
        case="_target that names another service",
        dev_appserver="ignored without a word: the app itself gets the task",
        embedded="refused with an error that names the service",
        reason="Only one service runs here; a task must not run in the wrong one.",
    ),
    "pause": Difference(
        case="pausing a queue",
        dev_appserver="not possible",
        embedded="an operation of the state API",
        reason="Production's console has it.",
        skipped=True,  # they ask the state API
    ),
    "age limit": Difference(
        case="task_age_limit and the virtual clock",
        dev_appserver="counts real seconds, which no test can advance",
        embedded="counts the virtual clock's",
        reason="Its scheduler has no clock but the real one.",
    ),
    "clock in headers": Difference(
        case="X-AppEngine-TaskETA of a task that was run before its time",
        dev_appserver="0.0",
        embedded="the app's time at which the task was due",
        reason="Tests run tasks early through ForceRun, which sets the ETA to 0.",
    ),
    "failing purge": Difference(
        case="a task that purges its own queue and then fails",
        dev_appserver="its scheduler ends: no task is run until a restart",
        embedded="the task is gone, the others go on",
        reason="A fault of the SDK's scheduler, which production does not have.",
        skipped=True,  # all tests after it would fail
    ),
    "dots": Difference(
        case="/evil/../custom/path",
        dev_appserver="a redirect to /custom/path",
        embedded="given to the app as it is, which answers 404",
        reason="Google's code says that production redirects too. Here the apps' own "
        "routes are what refuses, whatever stands in front of them.",
    ),
    "escapes": Difference(
        case="an escape in a path: /custom%2Fpath, or any in the _url of a task",
        dev_appserver="its % is escaped again: the app answers 404",
        embedded="decoded once: the path is /custom/path",
        reason="gunicorn decodes the path, and does so in production.",
    ),
    "statistics": Difference(
        case="statistics of a queue: executed_last_minute, in_flight, enforced_rate",
        dev_appserver="random numbers; only tasks and oldest_eta_usec are true",
        embedded="counted",
        reason="Production counts them.",
    ),
    "caching": Difference(
        case="Cache-Control and Expires of an answer without them",
        dev_appserver="Cache-Control: no-cache, and an Expires in the past",
        embedded="none",
        reason="The client must see what the app sent.",
    ),
    "restart": Difference(
        case="entities and tasks after a restart of the server",
        dev_appserver="tasks are lost and their names begin again at task1",
        embedded="kept with --storage, and no name is given twice",
        reason="Production keeps them; shared/once.py would take a name that is used "
        "again for a task that has run.",
        skipped=True,  # they start servers of their own
    ),
    "two stores": Difference(
        case="an entity of Cloud NDB, read through the bundled datastore",
        dev_appserver="not there: Cloud NDB needs a Datastore emulator beside it",
        embedded="the same entity: one store serves both",
        reason="In production both libraries use the project's one database.",
        library="cloud",
    ),
}
"""The key that a test's `differs` marker names -> the difference."""
