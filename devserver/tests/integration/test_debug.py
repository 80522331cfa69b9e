"""`--debug`: the app has the terminal, and as much time as the developer."""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.helpers.app_folder import make_app
from tests.helpers.command import Running, edit, fetch
from tests.helpers.terminal import Terminal, server_command

STOPPING = """\
from google.appengine.api import taskqueue, wrap_wsgi_app

def answer(environ, start_response):
    value = environ["PATH_INFO"].upper()
    if value == "/RAISE":
        raise ValueError(value)
    if value == "/ADD":
        taskqueue.add(url="/task")
    else:
        breakpoint()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]

app = wrap_wsgi_app(answer)
"""


@pytest.fixture
def terminal(folder: Path) -> Iterator[Terminal]:
    """A server with `--debug` in a terminal, whose tasks have 0.1 s."""
    # other options than those that the server sets
    entrypoint = "gunicorn -w 2 --threads=4 --timeout 1 main:app"
    make_app(folder, STOPPING, "app_engine_apis: true", entrypoint=entrypoint)
    options = ("--debug", "--task-deadline=0.1")
    terminal = Terminal(server_command(str(folder), *options))
    yield terminal
    terminal.close()


def stop_and_go_on(terminal: Terminal, value: str) -> None:
    """Read a variable at the prompt, stay for a second, and continue."""
    terminal.wait_for(r"\(Pdb\) ")
    terminal.type("value; len(__import__('threading').enumerate())\n")
    terminal.wait_for(f"'{value}'")
    terminal.wait_for(r"\(Pdb\) ")
    terminal.type("__import__('time').sleep(1.5)\n")
    terminal.wait_for(r"\(Pdb\) ")
    terminal.type("continue\n")


def test_breakpoints(folder: Path, terminal: Terminal) -> None:
    """It stops in a view and in a task, also after an edit; Ctrl-C ends the server."""
    url = terminal.wait_for(r"App +(http://\S+)")[1]
    terminal.wait_for("Press Ctrl-C")
    with ThreadPoolExecutor() as pool:
        for _ in range(2):
            view = pool.submit(fetch, url, "/view")
            stop_and_go_on(terminal, "/VIEW")
            assert view.result() == (200, "hello")
            assert fetch(url, "/add") == (200, "hello")
            stop_and_go_on(terminal, "/TASK")
            terminal.wait_for(r"task \S+ .*: 200 in")
            edit(folder / "main.py", ".upper()", ".upper().upper()")
            terminal.wait_for("the app is ready again")
        pool.submit(fetch, url, "/view")
        terminal.wait_for(r"\(Pdb\) ")
        # the prompt does this itself
        assert not terminal.echoes
        terminal.type("\x03")
        assert terminal.status() == 0


def test_an_edit_at_a_prompt(folder: Path, terminal: Terminal) -> None:
    """The app restarts, and the terminal and the log work as before."""
    url = terminal.wait_for(r"App +(http://\S+)")[1]
    terminal.wait_for("Press Ctrl-C")
    with ThreadPoolExecutor() as pool:
        lost = pool.submit(fetch, url, "/view")
        terminal.wait_for(r"\(Pdb\) ")
        edit(folder / "main.py", "breakpoint()", "pass")
        terminal.wait_for("the app is ready again")
        assert terminal.echoes
        assert lost.exception() or lost.result()[0] >= 500
        assert fetch(url, "/view") == (200, "hello")
        assert fetch(url, "/raise")[0] == 500
    shown = terminal.wait_for(r"(?s)GET /view 200(.*)GET /raise 500 .*: ValueError")[1]
    assert "Error handling request" not in shown


def test_without_a_terminal(folder: Path, start: Callable[..., Running]) -> None:
    """A warning says what a breakpoint does then; without --debug, advice names it.

    The log is as without --debug.
    """
    make_app(folder, STOPPING, "app_engine_apis: true")
    server = start("--debug")
    server.log("warning: --debug: .* terminal.*BdbQuit")
    assert fetch(server.url, "/raise")[0] == 500
    server.log("GET /raise 500 .*: ValueError.*\nTraceback(.*\n)+ValueError")
    assert not re.search("gunicorn|google", server.stderr)
    assert fetch(server.url)[0] == 500
    server.log("GET / 500")
    assert "Start the server with --debug" not in server.stderr
    assert "middlewares.py" not in server.stderr
    server = start()
    assert fetch(server.url)[0] in (500, 502)  # 502 since Python 3.14
    server.log(r"warning: .*main\.py, line \d+: (bdb\.BdbQuit|SystemExit).* --debug")
