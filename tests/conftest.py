"""Options that select the app and the server, and fixtures that start them."""

import os
import pathlib
from collections.abc import Iterator

import hypothesis
import pytest
from gae_devserver.testing import ending

from tests.servers.base import Server
from tests.servers.contract_app import ContractApp
from tests.servers.datastore_emulator import DatastoreEmulator
from tests.servers.differences import (
    CLOUD_TASKS,
    DEV_APPSERVER,
    NEEDS_CALLS,
    THREADS,
)
from tests.servers.embedded import Embedded
from tests.servers.staging import APPS, stage
from tools import cloud_sdk
from tools.copy_app import BACKENDS, LIBRARIES

SERVERS = ("embedded", "dev_appserver")

# a test of drawn headers has 100 of them, or with --hypothesis-profile many:
hypothesis.settings.register_profile("many", max_examples=2500)


def start(name: str, ndb: str, app: pathlib.Path, work: pathlib.Path) -> Server:
    """Start the server that --server names, with a datastore for --ndb."""
    if name == Embedded.name:
        # no app has an index.yaml, so no query of theirs may need one
        return Embedded(app, work, "--require-indexes")
    # only here: it imports the SDK, which takes half a second
    from tests.servers.dev_appserver import DevAppserver

    if ndb == "bundled":
        return DevAppserver(app, work)
    cloud_sdk.need_dev_appserver(pytest.skip, emulator=True)
    return DevAppserver(app, work, DatastoreEmulator(work))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the contract and of tests/e2e."""
    group = parser.getgroup("contract")
    group.addoption(
        "--app", choices=APPS, default="flask", help="the app that the contract tests"
    )
    group.addoption(
        "--server",
        choices=SERVERS,
        default=Embedded.name,
        help="the dev server on which the app runs",
    )
    group.addoption(
        "--ndb",
        choices=LIBRARIES,
        default="bundled",
        help="the NDB library that stores the app's counter",
    )
    group.addoption(
        "--tasks",
        choices=BACKENDS,
        default="bundled",
        help="the service that holds the app's tasks",
    )
    group.addoption(
        "--realtime",
        action="store_true",
        help="run only the tests that wait for the documented schedule, 150 s",
    )
    group.addoption(
        "--base-url", metavar="URL", help="the deployed version that tests/e2e tests"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers, and stop the servers when nox ends the run."""
    for marker in (
        "differs(key): must fail on dev_appserver.py, see tests/servers/differences.py",
        "changes(key): must fail with Cloud Tasks, see the same file",
        "shows(key): shows what that entry says about dev_appserver.py",
        "realtime: waits for minutes; runs with --realtime only",
    ):
        config.addinivalue_line("markers", marker)
    if config.getoption("--server") != Embedded.name:
        if config.getoption("--tasks") == "cloud":
            raise pytest.UsageError("dev_appserver.py has no Cloud Tasks")
        try:
            cloud_sdk.find_dev_appserver()
        except cloud_sdk.NotInstalledError as error:
            raise pytest.UsageError(str(error)) from None

    ending.end_as_with_ctrl_c()
    if "NOX_CURRENT_SESSION" in os.environ:
        ending.end_with_parent()


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Select tests by --realtime, and mark those that must fail where they run."""
    select_by_time(config, items)
    on_dev_appserver = config.getoption("--server") != Embedded.name
    with_cloud_tasks = config.getoption("--tasks") == "cloud"
    for item in items:
        for marker in item.iter_markers("differs"):
            difference = DEV_APPSERVER[marker.args[0]]
            library = difference.library in (None, config.getoption("--ndb"))
            if on_dev_appserver and library:
                item.add_marker(difference.expectation())
        keys = [marker.args[0] for marker in item.iter_markers("changes")]
        if with_cloud_tasks:
            mark_changes(item, keys)


def mark_changes(item: pytest.Item, keys: list[str]) -> None:
    """Mark a test that must fail with Cloud Tasks, or that cannot run on this Python.

    Where no call works, only the tests of that row run.
    """
    for key in keys:
        if CLOUD_TASKS[key].holds:
            item.add_marker(CLOUD_TASKS[key].expectation())
    if THREADS not in keys:
        item.add_marker(NEEDS_CALLS)


def select_by_time(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Select only the tests that wait for minutes, or only the others.

    On a deployed version, where no clock can be advanced, select all.
    """
    slow = [item for item in items if item.get_closest_marker("realtime")]
    if config.getoption("--realtime"):
        config.hook.pytest_deselected(items=[x for x in items if x not in slow])
        items[:] = slow
    elif not config.getoption("--base-url"):
        for item in slow:
            item.add_marker(pytest.mark.skip(reason="takes minutes: use --realtime"))


@pytest.fixture(scope="session")
def contract_app(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ContractApp]:
    """The chosen app, staged, on the chosen server, started once for all tests."""
    work = tmp_path_factory.mktemp("contract")
    ndb = pytestconfig.getoption("--ndb")
    tasks = pytestconfig.getoption("--tasks")
    app = stage(pytestconfig.getoption("--app"), work, ndb, tasks)
    server = start(pytestconfig.getoption("--server"), ndb, app, work)
    try:
        yield ContractApp(server, work)
    finally:
        server.stop()


@pytest.fixture
def app(contract_app: ContractApp) -> ContractApp:
    """The app, with no entities and no tasks."""
    contract_app.reset()
    return contract_app


@pytest.fixture
def server(app: ContractApp) -> Server:
    """The server on which the app runs, with no entities and no tasks."""
    return app.server


@pytest.fixture
def embedded(server: Server) -> Embedded:
    """The embedded server, for tests of what only it can do."""
    assert isinstance(server, Embedded)
    return server


@pytest.fixture(scope="session")
def app_name(pytestconfig: pytest.Config) -> str:
    """The name of the chosen app."""
    return str(pytestconfig.getoption("--app"))


@pytest.fixture(scope="session")
def library(pytestconfig: pytest.Config) -> str:
    """The NDB library that stores the app's counter, bundled or cloud."""
    return str(pytestconfig.getoption("--ndb"))


@pytest.fixture(scope="session")
def tasks(pytestconfig: pytest.Config) -> str:
    """The service that holds the app's tasks, bundled or cloud."""
    return str(pytestconfig.getoption("--tasks"))
