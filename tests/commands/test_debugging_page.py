"""docs/debugging.md: a debugger stops the app, also after an edit."""

import contextlib
import json
import pathlib
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from gae_devserver.testing.requests import send

from tests.commands.dap import debugging
from tests.commands.pages import blocks, commands, files, page, section
from tests.commands.test_own_apps import IDE, make_app, run_all, serving

VS_CODE = section(page("docs/debugging.md"), "VS Code")


def line_of(text: str, file: pathlib.Path) -> int:
    """Return the number of the line that contains a text."""
    lines = file.read_text().splitlines()
    (number,) = (number for number, line in enumerate(lines, 1) if text in line)
    return number


@pytest.fixture
def shown() -> str:
    """The section about VS Code, with a port that is free."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return VS_CODE.replace("5678", str(free.getsockname()[1]))


def test_vs_code(shown: str, own_cache: dict[str, str], tmp_path: pathlib.Path) -> None:
    """The debugger stops in a view and in a task, and again after an edit."""
    app = make_app(tmp_path / "my_app", "Flask")
    main, tasks = app / "main.py", app / "tasks.py"
    for path, content in files(shown).items():
        (app / path).write_text(content)
    main.write_text(main.read_text() + blocks(shown, "python")[1])
    install, serve = commands(shown)
    run_all([*commands(IDE)[:2], install], app, **own_cache)
    (configuration,) = json.loads(blocks(shown, "json")[0])["configurations"]
    breakpoints = {
        main: line_of("deferred.defer", main),
        tasks: line_of("count += 1", tasks),
    }

    with ThreadPoolExecutor() as threads, contextlib.ExitStack() as ide:
        session = ide.enter_context(debugging(app))
        session.listen(configuration)
        accepted = threads.submit(session.accept, breakpoints)
        with serving(serve, app, tmp_path, **own_cache) as (server, url):
            accepted.result()
            for count in (0, 1):
                visit = threads.submit(send, url, "GET", "/")
                function, variables = session.stop()
                assert (function, variables["counted"]) == ("visit", str(count))
                assert visit.result().text == f"{count} visits\n"
                function, variables = session.stop()
                assert function == "count_visit"
                assert f"count={count}" in variables["entity"]
                server.wait_for(rf"(?:task .* 200 in [\s\S]*){{{count + 1}}}")
                if count == 0:
                    tasks.write_text(f"{tasks.read_text()}\n# edited\n")
                    assert session.event("terminated") == {"restart": True}
                    ide.close()
                    session = ide.enter_context(debugging(app))
                    session.listen(configuration)
                    session.accept(breakpoints)
                    server.wait_for("ready again")
