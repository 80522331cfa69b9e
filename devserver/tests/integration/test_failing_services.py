"""Three services, of which one restarts, dies, or does not start."""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gae_devserver.testing import DevServer, wait_until
from tests.helpers.command import OWN_PYTHON, PATIENCE, Running, edit, fetch, run
from tests.helpers.several_services import (
    FRAMEWORKS,
    copy_services,
    decoded,
    services_of,
    who,
)

BROKEN = "def app(:\n"


@pytest.fixture
def apps(tmp_path: Path) -> list[Path]:
    """The files of the services."""
    return copy_services(tmp_path)


@pytest.fixture
def start(apps: list[Path]) -> Iterator[Callable[..., DevServer]]:
    """Start the three services, with arguments of DevServer."""
    servers: list[DevServer] = []

    def start(*options: str, reload: bool = False) -> DevServer:
        servers.append(DevServer(apps, OWN_PYTHON, *options, reload=reload))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def defer_to_each(server: DevServer, label: str) -> None:
    """Let the service default defer a task for each service."""
    for name in FRAMEWORKS:
        target = f"/defer?label={label}&_target={name}"
        assert decoded(server.service("default").get(target)) is None


def state_of(server: DevServer, service: str) -> dict[str, str]:
    """Return what the State API says about a service."""
    listed = server.state("GET", "/services")["services"]
    (shown,) = (shown for shown in listed if shown["name"] == service)
    return dict(shown)


def test_a_reload_of_one(apps: list[Path], start: Callable[..., DevServer]) -> None:
    """The others keep their processes, and a request to one of them is not cut off.

    An edit of dispatch.yaml restarts none.
    """
    server = start(reload=True)
    before = {name: who(server, name)["pids"] for name in FRAMEWORKS}
    with ThreadPoolExecutor() as pool:
        held = pool.submit(server.service("default").get, "/hold?key=a")
        admin = server.service("admin")
        wait_until(lambda: decoded(admin.get("/share?key=a-waits")), "the request")

        edit(apps[1].with_name("main.py"), '"none"', '"edited"')

        def is_edited() -> bool:
            answer = server.service("worker").get("/who")
            return answer.status == 200 and decoded(answer)["framework"] == "edited"

        wait_until(is_edited, "the worker restarts", PATIENCE)
        admin.get("/share?key=a&value=b")
        assert decoded(held.result(PATIENCE)) == "b"

    def who_is_admin() -> str:
        return str(decoded(server.get("/admin/x"))["service"])

    assert who_is_admin() == "admin"
    edit(apps[0].with_name("dispatch.yaml"), "service: admin", "service: worker")
    wait_until(lambda: who_is_admin() == "worker", "the rule changes", PATIENCE)
    after = {name: who(server, name)["pids"] for name in FRAMEWORKS}
    assert {name for name in FRAMEWORKS if before[name] != after[name]} == {"worker"}


def test_a_reload_of_two(apps: list[Path]) -> None:
    """Two services of one folder restart together, which the log says once."""
    other = apps[0].with_name("other.yaml")
    other.write_text(f"service: other\n{apps[0].read_text()}")
    with DevServer([apps[0], other], OWN_PYTHON, reload=True) as server:
        (apps[0].with_name("main.py")).touch()
        server.wait_for_log(r"\d main.py changed: restarting default, other$")
        for name in ("default", "other"):
            server.wait_for_log(f"the service {name} is ready again")


def test_one_is_killed(apps: list[Path], start: Callable[..., DevServer]) -> None:
    """Tasks for it wait, and run once when it is back; the others work on."""
    server = start()
    main = apps[1].with_name("main.py")
    good = main.read_text()
    main.write_text(BROKEN)  # so that it does not come back before the tasks wait
    # the server ends the other processes of the service
    os.kill(who(server, "worker")["pids"][0], signal.SIGKILL)
    server.wait_for_log(r"The service worker .*signal 9")

    defer_to_each(server, "a")
    wait_until(lambda: len(server.tasks()) == 1, "two tasks")
    (task,) = server.tasks()
    assert (task.service, task.retry_count) == ("worker", 0)
    assert server.service("worker").get("/who").status == 503
    assert who(server, "admin")["service"] == "admin"

    main.write_text(good)
    wait_until(lambda: not server.tasks(), "the worker is back", PATIENCE)
    server.advance(0)
    assert sorted(services_of(server, "a")) == sorted(FRAMEWORKS)


def test_one_that_does_not_start(
    apps: list[Path], start: Callable[..., DevServer]
) -> None:
    """The others start, and so does this one once its file is fixed."""
    main = apps[2].with_name("main.py")
    good = main.read_text()
    main.write_text(BROKEN)
    server = start(reload=True)
    reason = r"main.py, line 1: SyntaxError"
    server.wait_for_log(f"error: The service admin .*{reason}")
    shown = state_of(server, "admin")
    assert shown["state"] == "failed"
    assert reason in shown["failure"]
    assert "restart the server" not in shown["failure"]
    answer = server.get("/admin/x")
    assert answer.status == 503
    assert reason in answer.text
    defer_to_each(server, "a")
    wait_until(lambda: len(services_of(server, "a")) == 2, "two tasks")

    main.write_text(good)
    wait_until(lambda: "admin" in services_of(server, "a"), "admin starts", PATIENCE)
    assert state_of(server, "admin")["state"] == "ready"


def test_an_edit_before_the_banner(apps: list[Path], tmp_path: Path) -> None:
    """A service that did not start restarts, while another one still starts."""
    go = tmp_path / "go"
    wait = f"import pathlib, time\nwhile not pathlib.Path('{go}').exists():"
    slow, broken = (app.with_name("main.py") for app in apps[1:])
    slow.write_text(f"{wait}\n    time.sleep(0.05)\n{slow.read_text()}")
    good = broken.read_text()
    broken.write_text(BROKEN)
    server = Running(apps[0], tmp_path, *map(str, apps[1:]))
    try:
        server.log("error: The service admin ")
        broken.write_text(good)
        server.log(r"\[admin\] main.py changed")
        go.touch()
        assert fetch(server.url, "/who")[0] == 200
    finally:
        server.process.terminate()
        server.process.wait(PATIENCE)


def test_the_server_is_killed(start: Callable[..., DevServer], tmp_path: Path) -> None:
    """With --storage, each task runs on its own service after a restart, once.

    The new server listens on other ports.
    """
    storage = f"--storage={tmp_path / 'data'}"
    server = start(storage)
    server.pause()
    defer_to_each(server, "a")
    server.kill()

    server = start(storage)
    assert sorted(task.service for task in server.tasks()) == sorted(FRAMEWORKS)
    server.resume()
    server.advance(0)
    assert sorted(services_of(server, "a")) == sorted(FRAMEWORKS)


def test_a_mistake_in_dispatch_yaml(apps: list[Path]) -> None:
    """The server names file and line, with status 2, before anything starts."""
    dispatch = "dispatch:\n- url: '*/x/*'\n  service: x\n- {url: '*/y/*', servic: x}\n"
    apps[0].with_name("dispatch.yaml").write_text(dispatch)
    done = run(*apps, "--port=0")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert "dispatch.yaml, line 4" in line
