"""The pytest plugin: the fixture `devserver`, a dev server with nothing stored.

Every pytest run loads this module where the package is installed. So it imports the
rest of the package only when a test uses the fixture.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from gae_devserver.testing import DevServer


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the settings of the fixture."""
    parser.getgroup("devserver", "gae-devserver").addoption(
        "--devserver-app",
        metavar="APP",
        action="append",
        default=[],
        help="the app that the fixture devserver runs: the folder that holds app.yaml, "
        "or a YAML file; repeat it for several services",
    )
    parser.addini(
        "devserver_app",
        "the default of --devserver-app, from this file's folder; several services on "
        "a line each",
    )
    parser.addini(
        "devserver_options",
        "options of gae-devserver for the fixture devserver",
        type="args",
        default=[],
    )


@pytest.fixture(scope="session")
def devserver_app(pytestconfig: pytest.Config) -> Path | list[Path]:
    """The app that `devserver` runs; override this to make or choose it in code."""
    folder = pytestconfig.invocation_params.dir
    named = pytestconfig.getoption("--devserver-app")
    if not named:
        setting = pytestconfig.getini("devserver_app")
        # it is a list if pyproject.toml has one
        lines = setting.splitlines() if isinstance(setting, str) else setting
        named = [line.strip() for line in lines if line.strip()]
        folder = pytestconfig.inipath.parent if pytestconfig.inipath else folder
    if not named:
        pytest.fail(
            "the fixture devserver needs the folder of your app. Write "
            "`pytest --devserver-app FOLDER`, or `devserver_app = FOLDER` in pytest's "
            "configuration file.",
            pytrace=False,
        )
    apps = [folder / name for name in named]
    return apps[0] if len(apps) == 1 else apps


@pytest.fixture(scope="session")
def devserver_options(pytestconfig: pytest.Config) -> Sequence[str]:
    """The options of the server; override this to choose them in code."""
    return tuple(pytestconfig.getini("devserver_options"))


@pytest.fixture(scope="session")
def _devserver(
    devserver_app: Path | Sequence[Path], devserver_options: Sequence[str]
) -> Iterator[DevServer]:
    """The server, started once for all tests."""
    from gae_devserver.testing import DevServer

    with _errors_without_traceback():
        server = DevServer(devserver_app, *devserver_options)
    with server:
        yield server


@pytest.fixture
def devserver(
    _devserver: DevServer, request: pytest.FixtureRequest
) -> Iterator[DevServer]:
    """The dev server with your app; nothing is stored, and no task waits."""
    with _errors_without_traceback():
        _devserver.reset()
    yield _devserver
    # pytest shows this with a test that failed
    request.node.add_report_section("teardown", "devserver log", _devserver.log())


@contextlib.contextmanager
def _errors_without_traceback() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, TimeoutError) as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None
