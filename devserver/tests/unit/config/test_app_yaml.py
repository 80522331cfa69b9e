"""What the server reads in app.yaml, and how it reports a mistake."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from gae_devserver.config.app_yaml import load_app_yaml
from gae_devserver.config.parsing import ConfigError
from tests.helpers.calls import app_config, application
from tests.helpers.config_files import LEAST, error_of, loaded, write

GUIDE = "docs/python2-to-python3.md"


def test_the_least_app_yaml(tmp_path: Path) -> None:
    """A runtime is enough: default service, default queue, no App Engine APIs."""
    app = loaded(tmp_path, LEAST)
    assert app == application(folder=tmp_path, app_engine_apis=False)
    assert (app.main.version, app.main.memory_mb) == (None, 384)


def test_everything_that_is_honored(tmp_path: Path) -> None:
    """The server reads these settings; the entrypoint has no "exec" before it."""
    app_yaml = """\
runtime: python313
env: standard
service: worker
instance_class: F4
app_engine_apis: true
entrypoint: gunicorn -w 2 'main:create_app()'
inbound_services: [warmup]
env_variables:
  NUMBER: 1
  TEXT: "False"
"""
    assert loaded(tmp_path, app_yaml).main == app_config(
        folder=tmp_path,
        service="worker",
        memory_mb=1536,
        entrypoint="gunicorn -w 2 'main:create_app()'",
        inbound_services=frozenset({"warmup"}),
        env_variables={"NUMBER": "1", "TEXT": "False"},
    )


@pytest.mark.parametrize(
    ("runtime", "version"),
    [
        ("python37", (3, 7)),
        ("python38", (3, 8)),
        ("python314", (3, 14)),
        ('"python310" # new', (3, 10)),
        ("python3", None),
    ],
)
def test_the_python_of_a_runtime(
    tmp_path: Path, runtime: str, version: tuple[int, int] | None
) -> None:
    """The version is in the name; python3 has none."""
    assert loaded(tmp_path, f"runtime: {runtime}\n").main.python == version


@pytest.mark.parametrize("line", ["", "entrypoint:", 'entrypoint: ""'])
def test_no_entrypoint(tmp_path: Path, line: str) -> None:
    """An empty entrypoint is none, so that the app gets gunicorn."""
    assert loaded(tmp_path, f"runtime: python313\n{line}\n").main.entrypoint is None


@pytest.mark.parametrize(
    "line",
    [
        "runtime: python27",
        'runtime: "python27"  # old',
        "'runtime' : python2",
        "runtime: python",
    ],
)
@pytest.mark.parametrize(
    "more",
    [
        "threadsafe: true\nhandlers:\n- url: /\n  script: main.py\n",
        "libraries:\n- name: webapp2\n",
        "\tbad: [\n",
    ],
)
def test_python_2_is_refused_first(tmp_path: Path, line: str, more: str) -> None:
    """Whatever else is wrong, the message has the line, a runtime and the guide."""
    message = error_of(tmp_path, f"api_version: 1\n{line}\n{more}")
    assert message.startswith(f"{tmp_path / 'app.yaml'}, line 2: ")
    assert all(fact in message for fact in ("Python 2", "runtime: python313", GUIDE))


@pytest.mark.parametrize(
    ("app_yaml", "facts"),
    [
        ("runtime: nodejs20", ["line 1", "'nodejs20'", "Python 3"]),
        ("runtime: custom", ["'custom'"]),
        ("runtime: python36", ["'python36'", "python37"]),
        ("runtime: python3.12", ["'python3.12'", "'runtime: python312'"]),
        ("runtime: python 312", ["'python 312'", "'runtime: python312'"]),
        ("runtime: Python-312", ["'Python-312'", "'runtime: python312'"]),
        ("runtime: 3.12", ["'3.12'", "'runtime: python312'"]),
        ("runtime: [python312]", ["line 1", "'runtime'"]),
        ("runtime: python\nenv: flex", ["line 2", "env: flex", "delete 'env'"]),
        ("runtime: python312\nenv: 2", ["line 2", "env: 2"]),
        ("runtime: python312\nenv: prod", ["line 2", "'env: standard'"]),
    ],
)
def test_what_this_server_cannot_run(
    tmp_path: Path, app_yaml: str, facts: list[str]
) -> None:
    """The message has the value and what to write, without the guide to Python 2."""
    message = error_of(tmp_path, app_yaml)
    assert all(fact in message for fact in facts)
    assert GUIDE not in message


@pytest.mark.parametrize(
    ("app_yaml", "line", "facts"),
    [
        ("a\tb: {", 1, ["YAML"]),
        ("runtime: python313\nhandlers: [\n", 3, ["YAML", "]"]),
        ("runtime: python313\n\tservice: a\n", 2, ["YAML", "tab", "spaces"]),
        ("runtime: python313\na\n", 2, ["YAML", "NAME: VALUE"]),
        ("runtime: python313\nservice: 'a\n\n", 2, ["YAML", "quotation"]),
        ("runtime: python313\n---\na: b\n", 2, ["YAML", "---"]),
        ("runtime: &x python313\n", 1, ["anchors"]),
        ("runtime: *x\n", 1, ["anchors"]),
        ('runtime: python313\nentrypoint: "a\\0b"\n', 2, ["null"]),
        ("\n- a\n", 2, ["a list", "'runtime: python313'"]),
        ("runtime python313\n", 1, ["'runtime: python313'"]),
        ("null\n", 1, ["'runtime: python313'"]),
    ],
)
def test_what_is_not_a_file_of_settings(
    tmp_path: Path, app_yaml: str, line: int, facts: list[str]
) -> None:
    """The message has the line where the mistake is, and what to do."""
    message = error_of(tmp_path, app_yaml)
    assert message.startswith(f"{tmp_path / 'app.yaml'}, line {line}: ")
    assert all(fact in message for fact in facts)
    assert "\n" not in message


@pytest.mark.parametrize(
    ("settings", "line", "facts"),
    [
        # names
        ("entrypiont: x", 2, ["'entrypiont'", "'entrypoint'"]),
        ("foo: bar", 2, ["'foo'"]),
        ("max_instances: 3", 2, ["'automatic_scaling'"]),
        ("handlers:\n- url: /\n  scirpt: auto", 4, ["'scirpt'", "'script'"]),
        ("runtime: python312", 2, ["'runtime'", "twice"]),
        ("env_variables:\n  A: b\n  A: c", 4, ["'A'", "twice"]),
        ("env_variables:\n  A-B: c", 3, ["'A-B'", "letters"]),
        # shapes
        ("entrypoint:\n- gunicorn", 2, ["'entrypoint'", "a list"]),
        ("env_variables:\n- A: b", 2, ["'env_variables'", "a list"]),
        ("handlers:\n  url: /\n  script: auto", 2, ["'handlers'", "'- '"]),
        ("handlers:\n- /", 3, ["'/'", "url: "]),
        ("inbound_services: warmup", 2, ["'warmup'", "'- '"]),
        ("includes: a.yaml", 2, ["'a.yaml'", "'- '"]),
        ("automatic_scaling: 5", 2, ["'5'", "max_instances: "]),
        ("manual_scaling:\n  instances: two", 3, ["'two'", "whole number"]),
        # values
        ("service: My_Service", 2, ["'My_Service'", "'service: my-service'"]),
        ("inbound_services:\n- warmups", 3, ["'warmups'", "'- warmup'"]),
        ("default_expiration: 5 days", 2, ["'default_expiration: 5d'"]),
        ("handlers:\n- url: foo\n  script: auto", 3, ["'foo'", "'url: /foo'"]),
        ("handlers:\n- url: ^/a$\n  script: auto", 3, ["'url: /a'"]),
        ("handlers:\n- url: /a\n  static_dir: ''", 4, ["'static_dir'"]),
        ("handlers:\n- url: /a\n  login: admins", 4, ["'login: admin'"]),
        (
            "automatic_scaling:\n  max_concurrent_requests: ten",
            3,
            ["'ten'", "max_concurrent_requests: 10"],
        ),
        # groups
        ("handlers:\n- script: auto", 3, ["'url'"]),
        ("handlers:\n- url: /a", 3, ["'script: auto'"]),
        ("handlers:\n- url: /a\n  static_files: b", 4, ["'upload'"]),
        ("handlers:\n- url: /\n  static_dir: x\n  script: auto", 5, ["'script'"]),
        ("libraries:\n- name: flask", 2, ["libraries", "requirements.txt"]),
        ("module: a\nservice: b", 2, ["module", "service"]),
        (
            "basic_scaling: {max_instances: 1}\nmanual_scaling: {instances: 1}",
            2,
            ["'basic_scaling'", "'manual_scaling'"],
        ),
    ],
)
def test_a_setting_that_app_engine_refuses(
    tmp_path: Path, settings: str, line: int, facts: list[str]
) -> None:
    """The message has the line, the value and what to write, and no expression."""
    message = error_of(tmp_path, f"{LEAST}{settings}\n")
    assert message.startswith(f"{tmp_path / 'app.yaml'}, line {line}: ")
    assert all(fact in message for fact in facts)
    assert message.endswith((".", "?"))
    assert "^(" not in message
    assert "\n" not in message


@pytest.mark.parametrize("app_yaml", ["", "# runtime: python313\n", "service: one\n"])
def test_an_app_yaml_without_a_runtime(tmp_path: Path, app_yaml: str) -> None:
    """The message has the line to add."""
    message = error_of(tmp_path, app_yaml)
    assert message.startswith(f"{tmp_path / 'app.yaml'}: ")
    assert "runtime: python313" in message


def test_what_is_not_text(tmp_path: Path) -> None:
    """The message for a file that is not UTF-8 has its path."""
    (tmp_path / "app.yaml").write_bytes(b"runtime: \xff\n")
    with pytest.raises(ConfigError, match=re.escape(str(tmp_path / "app.yaml"))):
        load_app_yaml(tmp_path)


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        ("url: /(\n  script: auto", "unterminated"),
        (r"url: /a" + "\n  static_files: s/\\1\n  upload: s/.*", "group"),
        ("url: /a\n  static_dir: ../outside", ": ../outside "),
        ("url: /a\n  static_dir: /etc", ": /etc "),
        ("url: /a\n  static_files: ../x\n  upload: .*", ": .. "),
    ],
)
def test_a_handler_that_cannot_work(tmp_path: Path, handler: str, reason: str) -> None:
    """The server refuses a broken pattern, and a folder outside the app."""
    message = error_of(tmp_path, f"{LEAST}handlers:\n- {handler}\n")
    assert reason in message


def test_app_yaml_alone_is_read_without_the_task_queue(tmp_path: Path) -> None:
    """The app starts before the SDK's task queue is imported, which is slow."""
    write(tmp_path, "runtime: python313\n", "queue:\n- name: a\n")
    script = """
import pathlib, sys
import gae_devserver.app.process
from gae_devserver.config.application import load_services

load_services([pathlib.Path(sys.argv[1])])
print(sys.modules.keys() & {"aiohttp", "asyncio", "google.appengine.api.taskqueue"})
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"


def test_settings_without_effect(tmp_path: Path) -> None:
    """Other settings of App Engine in these files change nothing."""
    app_yaml, queue_yaml = "runtime: python313\n", "queue:\n- name: default\n"
    plain = loaded(tmp_path, app_yaml, queue_yaml)

    assert plain == loaded(
        tmp_path,
        app_yaml + "api_version: 1\nskip_files: x\n",
        queue_yaml + "total_storage_limit: 1M\n",
    )
