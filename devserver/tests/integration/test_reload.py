"""Edits of the app and of its settings take effect while the server runs."""

import json
import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from gae_devserver.testing import wait_until
from tests.helpers.app_folder import CALLING, HELLO, make_app
from tests.helpers.command import PATIENCE, Running, edit, fetch
from tests.helpers.datastore_v1 import RawClient, query_fields

# Answers with values from its environment and its files.
TELLING = """\
import os
from common.texts import text

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    values = [os.environ["GAE_VERSION"], os.environ.get("COLOR", ""), text.TEXT]
    return ["|".join(values).encode()]
"""


@pytest.fixture
def telling(folder: Path, tmp_path: Path) -> Path:
    """An app that answers with GAE_VERSION, a variable, and a text in common/."""
    (tmp_path / "common" / "texts").mkdir(parents=True)
    (tmp_path / "common" / "texts" / "text.py").write_text("TEXT = 'one'")
    (folder / "common").symlink_to("../common")
    return make_app(folder, TELLING, "env_variables: {COLOR: blue}\n")


def test_reload(telling: Path, start: Callable[..., Running]) -> None:
    """Edits of the app, of a file behind a link, and of app.yaml take effect.

    The log names the file, not the editor's temporary one. GAE_VERSION stays. Packages
    are not installed, as a warning says.
    """
    server = start()
    version = fetch(server.url)[1].partition("|")[0]
    edit(telling / "main.py", '"|".join', '" / ".join')
    server.answers(f"{version} / blue / one")
    server.log(r" main\.py changed: restarting the app")
    edit(telling.parent / "common" / "texts" / "text.py", "one", "three")
    server.answers(f"{version} / blue / three")
    edit(telling / "app.yaml", "blue", "red")
    server.answers(f"{version} / red / three")
    (telling / "requirements.txt").write_text("not_there\n")
    server.log(r"warning: .*requirements\.txt")


def test_edits_while_the_app_starts(
    folder: Path, tmp_path: Path, start: Callable[..., Running]
) -> None:
    """They take effect: of the app and the settings, also a mistake and its fix."""
    imports = tmp_path / "imports"
    # each import says so, and waits for the end
    waits = f"""\
import pathlib, time
imports, text = pathlib.Path({str(imports)!r}), pathlib.Path(__file__).read_text()
with imports.open("a") as file:
    file.write(f"{{len(text)}} ")
while not imports.with_name("go").exists():
    time.sleep(0.01)
"""
    make_app(folder, waits + HELLO)
    main, settings = folder / "main.py", folder / "queue.yaml"
    server = start()

    def imported() -> bool:
        sizes = imports.read_text().split() if imports.exists() else []
        return str(len(main.read_text())) in sizes

    wait_until(imported, "the first import", PATIENCE)
    settings.write_text("queue:\n- {name: later, rate: 1/s}\n")
    edit(main, "hello", "edited")
    wait_until(imported, "the second import", PATIENCE)
    server.log(r" queue\.yaml was read again.* later")
    main.write_text("def app(:\n")
    server.log(r"error: .* exit status 3 .*main\.py, line 1: SyntaxError: ")
    assert server.stdout == ""
    main.write_text(waits + HELLO.replace("hello", "repaired"))
    wait_until(imported, "the third import", PATIENCE)
    (tmp_path / "go").touch()
    server.answers("repaired")
    assert "later" in server.banner("Queues")


def test_an_edit_before_the_server_watches(
    folder: Path, tmp_path: Path, start: Callable[..., Running]
) -> None:
    """The app restarts, though its process began before the server was loaded."""
    edits = f"""\
import pathlib
file, once = pathlib.Path(__file__), pathlib.Path({str(tmp_path / "once")!r})
if not once.exists():
    once.touch()
    file.write_text(file.read_text().replace("hello", "edited"))
"""
    make_app(folder, edits + HELLO)
    server = start()
    server.answers("edited")
    server.log(r" main\.py changed: restarting the app")


def test_files_that_are_no_edits(folder: Path, start: Callable[..., Running]) -> None:
    """The app restarts neither for static files nor forever for what it writes."""
    writes = "import pathlib, time\npathlib.Path('data').write_text(str(time.time()))\n"
    handlers = "handlers: [{url: /static, static_dir: static}]\n"
    make_app(folder, writes + HELLO, handlers)
    style = folder / "static" / "style.css"
    style.parent.mkdir()
    style.write_text("old")
    server = start("--log-level=debug")
    server.log("warning: .* data ")
    server.answers("hello")
    style.write_text("edited")
    server.log("style.css is static")
    assert fetch(server.url, "/static/style.css") == (200, "edited")
    (style.parent / "main.py").touch()
    server.log(r" main\.py changed: restarting the app")
    assert " style.css changed" not in server.stderr


def test_a_reload_that_fails(folder: Path, start: Callable[..., Running]) -> None:
    """The reason is logged and answered, until the next edit fixes it.

    The log has none of gunicorn's frames.
    """
    server = start()
    server.answers("hello")
    (folder / "main.py").write_text("def app(:\n")
    reason = r"main\.py, line 1: SyntaxError: "
    server.log(rf"error: .* exit status 3 .*{reason}")
    status, body = fetch(server.url)
    assert status == 503
    assert re.search(reason, body)
    assert "SyntaxError: invalid syntax" in server.stderr
    assert "gunicorn/" not in server.stderr
    (folder / "main.py").write_text(HELLO.replace("hello", "repaired"))
    server.answers("repaired")


def test_an_edit_of_a_site_without_an_app(
    folder: Path, start: Callable[..., Running]
) -> None:
    """That there is no app was said at the start, and is not repeated."""
    handler = "handlers: [{url: /, static_files: index.html, upload: index.html}]\n"
    make_app(folder, app_yaml=handler, entrypoint="sh -c 'echo started; exit 3'")
    (folder / "main.py").unlink()
    page, other = folder / "index.html", folder / "other.html"
    page.write_text("front")
    server = start()
    page.write_text("edited")

    def starts() -> int:
        other.write_text("edited")
        return len(re.findall("^started$", server.stderr, re.MULTILINE))

    # the last one begins after the end of the others
    wait_until(lambda: starts() >= 4, "the app starts again and again", PATIENCE)
    assert not re.search("^[0-9:]+ error: ", server.stderr, re.MULTILINE)
    assert fetch(server.url)[1] == "edited"


@pytest.mark.parametrize(
    ("added", "reason"),
    [
        ("color: [", r", line \d: "),
        ("service: other", ".*'other'.* Restart the server"),
    ],
)
def test_a_broken_app_yaml_changes_nothing(
    telling: Path, start: Callable[..., Running], added: str, reason: str
) -> None:
    """The app keeps the previous settings until the fix, and the log has the reason.

    Another service needs another server: tasks would not be for this one.
    """
    server = start()
    version = fetch(server.url)[1].partition("|")[0]
    good = (telling / "app.yaml").read_text()
    (telling / "app.yaml").write_text(f"{good}{added}\n")
    server.log(rf"error: .*app\.yaml{reason}")
    assert fetch(server.url) == (200, f"{version}|blue|one")
    (telling / "app.yaml").write_text(good.replace("blue", "green"))
    server.answers(f"{version}|green|one")


def test_an_included_file(telling: Path, start: Callable[..., Running]) -> None:
    """Its settings take effect when it is included, appears or changes."""
    server = start()
    version = fetch(server.url)[1].partition("|")[0]
    with (telling / "app.yaml").open("a") as file:
        file.write("includes: [colors.yaml]\n")
    server.log(r"error: .*app\.yaml, line \d: .*colors\.yaml")
    for color in ("red", "green"):
        (telling / "colors.yaml").write_text(f"env_variables: {{COLOR: {color}}}\n")
        server.answers(f"{version}|{color}|one")


def queues(server: Running) -> set[str]:
    """Return the names of the queues."""
    status, body = fetch(server.state_url, "/queues")
    assert status == 200
    return {queue["name"] for queue in json.loads(body)["queues"]}


def test_queue_yaml_is_read_again(folder: Path, start: Callable[..., Running]) -> None:
    """A new queue needs no restart of the app; a broken file changes nothing."""
    server = start()
    assert queues(server) == {"default"}
    (folder / "queue.yaml").write_text("queue:\n- name: slow\n  rate: 1/s\n")
    wait_until(lambda: queues(server) == {"default", "slow"}, "slow", PATIENCE)
    (folder / "queue.yaml").write_text("queue:\n- name: slow\n  rate: 1/year\n")
    server.log(r"error: .*queue\.yaml, line \d: .*1/year")
    assert queues(server) == {"default", "slow"}
    (folder / "queue.yaml").unlink()
    server.log(r"queue\.yaml was removed\. .*: default$")
    assert queues(server) == {"default"}
    assert "restarting the app" not in server.stderr


def test_a_queue_yml_that_is_named(
    folder: Path, start: Callable[..., Running], tmp_path: Path
) -> None:
    """It is read again in its own folder, and the log says so."""
    file = tmp_path / "settings" / "queue.yml"
    file.parent.mkdir()
    file.write_text("queue:\n- name: slow\n  rate: 1/s\n")
    server = start(str(file))
    assert queues(server) == {"default", "slow"}
    wait_until(
        lambda: file.write_text("queue: []\n") and queues(server) == {"default"},
        "the change",
        PATIENCE,
    )
    server.log(r"queue\.yml was read again\. .*: default$")


def test_cron_yaml_is_read_again(folder: Path, start: Callable[..., Running]) -> None:
    """A new job needs no restart of the app; a broken file changes nothing."""

    def jobs() -> list[str]:
        listed = json.loads(fetch(server.state_url, "/cron")[1])["jobs"]
        return [job["url"] for job in listed]

    server = start()
    assert jobs() == []
    (folder / "cron.yaml").write_text("cron:\n- {url: /a, schedule: every 5 mins}\n")
    wait_until(lambda: jobs() == ["/a"], "/a", PATIENCE)
    (folder / "cron.yaml").write_text("cron:\n- {url: /b, schedule: every hour}\n")
    server.log(r"error: .*cron\.yaml, line 2: .*'every hour'")
    assert jobs() == ["/a"]
    (folder / "cron.yaml").unlink()
    server.log(r"cron\.yaml was removed\.")
    assert "restarting the app" not in server.stderr


def test_index_yaml_is_written_and_read_again(
    folder: Path, start: Callable[..., Running]
) -> None:
    """Neither the server's own change nor the user's needs a restart of the app."""

    def missing() -> int:
        return len(json.loads(fetch(server.state_url, "/indexes")[1])["missing"])

    server = start("--write-indexes")
    fields = query_fields("A", order=("a", "b"))
    fields["partition_id"]["project_id"] = "sample-project"
    with closing(RawClient(server.banner("Datastore").partition("=")[2])) as client:
        client.call("RunQuery", project_id="sample-project", **fields)
        text = (folder / "index.yaml").read_text()
        assert "- kind: A\n" in text
        (folder / "index.yaml").write_text(text.partition("# AUTOGENERATED")[0])
        server.log(r"index\.yaml was read again")
        client.call("RunQuery", project_id="sample-project", **fields)
    server.log(r"warning: .* A \(a, b\).*# AUTOGENERATED")
    assert missing() == 1
    (folder / "index.yaml").write_text(text)
    wait_until(lambda: not missing(), "the index", PATIENCE)
    assert server.stderr.count("index.yaml was read again") == 2
    assert "restarting the app" not in server.stderr


def test_edits_beside_a_broken_queue_yaml_are_not_lost(
    telling: Path, start: Callable[..., Running]
) -> None:
    """Edits of the app take effect at once, those of app.yaml after the fix."""
    server = start()
    version = fetch(server.url)[1].partition("|")[0]
    (telling / "queue.yaml").write_text("queue: [")
    server.log(r"error: .*queue\.yaml")
    edit(telling / "app.yaml", "blue", "red")
    edit(telling / "main.py", '"|".join', '" / ".join')
    server.answers(f"{version} / blue / one")
    (telling / "queue.yaml").write_text("queue: [{name: slow, rate: 1/s}]")
    server.answers(f"{version} / red / one")
    assert queues(server) == {"default", "slow"}


def test_a_fix_while_another_service_starts(
    tmp_path: Path, start: Callable[..., Running]
) -> None:
    """It takes effect at once, and the log says whether it helps."""
    slow = make_app(tmp_path / "slow", HELLO, "service: slow\n")
    broken = make_app(tmp_path / "broken", "def app(:\n", "service: broken\n")
    waiting = "import pathlib, time\nwhile not pathlib.Path('go').exists():\n    "
    (slow / "main.py").write_text(f"{waiting}time.sleep(0.01)\n{HELLO}")
    server = start(str(slow / "app.yaml"), str(broken / "app.yaml"))
    server.log("error: The service broken")

    def is_seen() -> bool:
        # the server begins to watch the files only now
        (broken / "main.py").write_text(f"{texts.pop()}{'#' * len(texts)}\n")
        return "main.py changed" in server.stderr

    texts = ["def still_broken(:\n"] * 1000
    wait_until(is_seen, "the edit is seen", PATIENCE)
    server.log(r"error: The service broken .*\n(.*\n)*.*error: The service broken")
    (broken / "main.py").write_text(HELLO)
    server.log("the service broken is ready$")
    assert server.stdout == ""
    (slow / "go").touch()
    assert server.banner("Services")


def test_app_engine_apis_and_warmup_take_effect(
    folder: Path, start: Callable[..., Running]
) -> None:
    """What app.yaml says about them applies to the next process of the app."""
    make_app(folder, CALLING, "app_engine_apis: false\n")
    server = start("--log-level", "debug")
    server.answers("None")
    server.log(r"error: .*memcache\.Get")
    assert "API call memcache.Get" not in server.stderr
    edit(folder / "app.yaml", "false", "true\ninbound_services: [warmup]")
    server.log("GET /_ah/warmup 200")
    server.answers("None")
    server.log(r"API call memcache\.Get \d+\.\d ms$")


def test_without_reload_nothing_happens(
    folder: Path, start: Callable[..., Running]
) -> None:
    """An edit has no effect."""
    server = start("--no-reload")
    server.answers("hello")
    edit(folder / "main.py", "hello", "edited!")
    with pytest.raises(TimeoutError):
        wait_until(lambda: fetch(server.url)[1] != "hello", "the edit", 1.5)
