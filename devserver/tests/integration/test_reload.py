"""What takes effect while the server runs: edits of the app and of its settings."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from gae_devserver.testing import wait_until
from tests.helpers.app_folder import HELLO, make_app
from tests.helpers.command import PATIENCE, Running, edit, fetch

# Answers with what it reads of its environment and its files.
TELLING = """\
import os
from common import text

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    values = [os.environ["GAE_VERSION"], os.environ.get("COLOUR", ""), text.TEXT]
    return ["|".join(values).encode()]
"""


@pytest.fixture
def telling(folder: Path, tmp_path: Path) -> Path:
    """An app that answers with GAE_VERSION, a variable, and a text in common/."""
    (tmp_path / "common").mkdir()
    (tmp_path / "common" / "text.py").write_text("TEXT = 'one'")
    (folder / "common").symlink_to("../common")
    return make_app(folder, TELLING, "env_variables: {COLOUR: blue}\n")


def test_reload(telling: Path, start: Callable[..., Running]) -> None:
    """Edits of the app, of what is behind a link, and of app.yaml take effect.

    The log names what was edited, and not the file that the editor wrote first.
    GAE_VERSION stays.
    """
    server = start()
    status, body = fetch(server.url)
    assert status == 200
    version = body.partition("|")[0]
    edit(telling / "main.py", '"|".join', '" / ".join')
    server.answers(f"{version} / blue / one")
    server.log(r" main\.py changed: restarting the app")
    edit(telling.parent / "common" / "text.py", "one", "three")
    server.answers(f"{version} / blue / three")
    edit(telling / "app.yaml", "blue", "red")
    server.answers(f"{version} / red / three")


def test_a_reload_that_fails(folder: Path, start: Callable[..., Running]) -> None:
    """The error is shown and answered, and the next edit that is right fixes it."""
    server = start()
    server.answers("hello")
    edit(folder / "main.py", "hello", "hello'")
    edit(folder / "main.py", 'b"', "b'''")
    wait_until(lambda: fetch(server.url)[0] == 503, "the failure", PATIENCE)
    assert "SyntaxError" in fetch(server.url)[1]
    server.log(r"error: .* exit status 3 .* main\.py, line 3: SyntaxError: ")
    assert "SyntaxError" in server.stderr
    (folder / "main.py").write_text(HELLO.replace("hello", "repaired"))
    server.answers("repaired")


def test_a_broken_app_yaml_changes_nothing(
    telling: Path, start: Callable[..., Running]
) -> None:
    """It is said what is wrong, and the app goes on with what it had."""
    server = start()
    version = fetch(server.url)[1].partition("|")[0]
    good = (telling / "app.yaml").read_text()
    (telling / "app.yaml").write_text(good + "colour: [\n")
    server.log(r"error: .*app\.yaml, line \d: ")
    assert fetch(server.url) == (200, f"{version}|blue|one")
    (telling / "app.yaml").write_text(good.replace("blue", "green"))
    server.answers(f"{version}|green|one")


def queues(server: Running) -> list[str]:
    """Return the names of the queues."""
    status, body = fetch(f"{server.state_url}/queues")
    assert status == 200
    return [queue["name"] for queue in json.loads(body)["queues"]]


def test_queue_yaml_is_read_again(telling: Path, start: Callable[..., Running]) -> None:
    """A new queue is there without a restart; a broken file changes nothing."""
    server = start()
    assert queues(server) == ["default"]
    (telling / "queue.yaml").write_text("queue:\n- name: slow\n  rate: 1/s\n")
    wait_until(lambda: set(queues(server)) == {"default", "slow"}, "slow", PATIENCE)
    (telling / "queue.yaml").write_text("queue:\n- name: slow\n  rate: 1/year\n")
    server.log(r"error: .*queue\.yaml, line \d: .*1/year")
    assert set(queues(server)) == {"default", "slow"}
    (telling / "queue.yaml").unlink()
    server.log(r"queue\.yaml was removed\. .*: default$")
    assert queues(server) == ["default"]
    assert "restarting the app" not in server.stderr


def test_without_reload_nothing_happens(
    folder: Path, start: Callable[..., Running]
) -> None:
    """An edit has no effect."""
    server = start("--no-reload")
    server.answers("hello")
    edit(folder / "main.py", "hello", "edited")
    with pytest.raises(TimeoutError):
        wait_until(lambda: fetch(server.url)[1] == "edited", "the edit", 1.5)


def test_a_package_that_is_missing_after_an_edit(
    folder: Path, start: Callable[..., Running]
) -> None:
    """As at the first start, it is said; that a reload does not install it, too."""
    server = start()
    server.answers("hello")
    (folder / "main.py").write_text("import not_there\n" + HELLO)
    said = rf" not_there .*{folder / 'requirements.txt'}"
    server.log(f"error: .* exit status 3 .*{said}")
    status, body = fetch(server.url)
    assert status == 503
    assert re.search(said, body)
    (folder / "requirements.txt").write_text("not_there\n")
    server.log(r"warning: .*requirements\.txt")
