"""The options of the command line, of pyproject.toml, and what --help shows."""

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import pytest

from gae_devserver.command_line.options import parse


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with an app in `app`."""
    (tmp_path / "app").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def table(text: str, file: str = "pyproject.toml") -> None:
    """Write a table of options."""
    Path(file).write_text(f"[tool.gae-devserver]\n{text}\n")


def error_of(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Expect that the arguments are refused; return the message."""
    with pytest.raises(SystemExit) as raised:
        parse(arguments)
    assert raised.value.code == 2
    return capsys.readouterr().err


def test_a_table_sets_options() -> None:
    """It names the apps too; the command line wins over it, option by option."""
    table(
        """\
apps = ["app"]
port = 8081
cron = true
task-deadline = 0.5
reload = false
write-indexes = true
http-target-host = ["one.test"]
log-level = "debug" """
    )
    options = parse([])
    assert options.apps == [Path("app")]
    assert (options.port, options.cron, options.reload) == (8081, True, False)
    assert (options.task_deadline, options.log_level) == (0.5, "debug")
    assert options.when_index_missing == "write"
    others = ("--http-target-host=two.test", "--log-level=info")
    options = parse(["other", "--port=1", "--no-cron", "--require-indexes", *others])
    assert options.apps == [Path("other")]
    assert (options.port, options.cron, options.reload) == (1, False, False)
    assert options.when_index_missing == "refuse"
    assert options.http_target_hosts == ["one.test", "two.test"]
    assert options.log_level == "info"
    assert parse(["app", "--no-pyproject"]).port == 8080


@pytest.mark.parametrize("app", ["app", "app/service.yaml"])
def test_the_table_beside_the_app(app: str) -> None:
    """It counts if the current folder has none; its paths are relative to its file."""
    (Path("app") / ".venv").symlink_to(Path("/usr"))
    table('storage = "data"\nproject = "of-app"\napps = ["."]', "app/pyproject.toml")
    Path("pyproject.toml").write_text("[tool.other]\nurl = 'gae-devserver'\n")
    options = parse([app])
    assert (options.apps, options.storage) == ([Path(app)], Path("app/data"))
    table('storage = "../data"')
    options = parse([app])
    assert options.storage == Path("../data").resolve()
    assert options.project == "sample-project"


@pytest.mark.parametrize("command", [["shell"], ["run", "app"]])
def test_programs_take_the_options_that_they_have(command: list[str]) -> None:
    """`shell` and `run` ignore those of the server, and keep their own."""
    table('apps = ["app"]\nport = 1\nproject = "of-file"\nrequire-indexes = true')
    options = parse([*command, *(["fill.py", "--port"] if len(command) > 1 else [])])
    assert options.command == command[0]
    assert options.apps == [Path("app")]
    assert (options.project, options.when_index_missing) == ("of-file", "refuse")


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("prot = 1", ["'prot'", "port"]),
        ('http-target-hosts = ["a"]', ["'http-target-hosts'", " http-target-host?"]),
        ("version = true", ["'version'"]),
        ('token = "0123456789abcdef"', ["token", "GAE_DEVSERVER_TOKEN"]),
        ('port = "8081"', ["port ", "'8081'", "number"]),
        ("port = true", ["port ", "True"]),
        ("port = 65536", ["port: '65536'"]),
        ("cron = 1", ["cron ", "true or false"]),
        ("project = 1", ["project ", "string"]),
        ('http-target-host = "a"', ["http-target-host ", "list"]),
        ('apps = "app"', ["apps ", "list"]),
        ('log-level = "loud"', ["log-level: ", "'loud'"]),
        ('python = "no/python"', ["python: ", "app/no/python"]),
        ("write-indexes = true\nrequire-indexes = true", ["write-indexes"]),
        ("port =", ["line 2"]),
    ],
)
def test_a_mistake_in_the_table(
    text: str, facts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The message has the file, the key, and what it should be."""
    table(text, "app/pyproject.toml")
    error = error_of(["app"], capsys)
    assert error.startswith("gae-devserver: error: app/pyproject.toml")
    assert all(fact in error for fact in facts)
    assert error.count("\n") == 1


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """It is that of the distribution."""
    with pytest.raises(SystemExit) as raised:
        parse(["--version"])
    assert raised.value.code == 0
    assert f" {metadata.version('gae-devserver')} " in capsys.readouterr().out


@pytest.mark.parametrize("command", [[], ["shell"], ["run"]])
def test_help(
    command: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It has groups and examples, and fits 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as raised:
        parse([*command, "--help"])
    assert raised.value.code == 0
    shown = capsys.readouterr().out
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert "\nthe app:\n" in shown
    assert f"\nexamples:\n  {' '.join(['gae-devserver', *command])} " in shown
