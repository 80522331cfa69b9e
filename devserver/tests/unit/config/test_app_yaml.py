"""What the server reads in app.yaml, and how it reports a mistake."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from gae_devserver.config.app_yaml import load
from gae_devserver.config.parsing import ConfigError
from tests.helpers.calls import app_config
from tests.helpers.config_files import HERE, error_of, loaded, write

GUIDE = "docs/python2-to-python3.md"


def test_the_least_app_yaml(tmp_path: Path) -> None:
    """A runtime is enough: default service, default queue, no App Engine APIs."""
    app = loaded(tmp_path, f"runtime: {HERE}\n")
    assert app == app_config(folder=tmp_path, runtime=HERE, app_engine_apis=False)
    assert (app.version, app.memory_mb) == (None, 384)


def test_everything_that_is_honored(tmp_path: Path) -> None:
    """The server reads these settings; the entrypoint has no "exec" before it."""
    app_yaml = f"""\
runtime: {HERE}
service: worker
instance_class: F4
app_engine_apis: true
entrypoint: gunicorn -w 2 'main:create_app()'
inbound_services: [warmup]
env_variables:
  NUMBER: 1
  TEXT: "False"
"""
    assert loaded(tmp_path, app_yaml) == app_config(
        folder=tmp_path,
        runtime=HERE,
        service="worker",
        memory_mb=1536,
        entrypoint="gunicorn -w 2 'main:create_app()'",
        warmup=True,
        env_variables={"NUMBER": "1", "TEXT": "False"},
    )


@pytest.mark.parametrize(
    ("app_yaml", "line", "reason"),
    [
        ("a\tb: {", 1, "not valid YAML"),
        ("runtime: python313\nhandlers: [\n", 3, "not valid YAML"),
        ("runtime: python313\nentrypiont: x\n", 2, "'entrypoint'"),
        (
            "runtime: python313\nhandlers:\n- url: /\n  scirpt: auto\n",
            4,
            "'script'",
        ),
        ("runtime: python313\nfoo: bar\n", 2, "'foo'. Fix its name"),
        ("runtime: python313\nruntime: python312\n", 2, "'runtime'"),
        ("runtime: python313\nentrypoint: {shell: x}\n", 2, "text"),
        ("runtime: &x python313\n", 1, "Anchors"),
        ("runtime: 5\n", 1, "'runtime'"),
    ],
)
def test_a_mistake_is_named_with_its_line(
    tmp_path: Path, app_yaml: str, line: int, reason: str
) -> None:
    """The message has the file, the line and the reason."""
    message = error_of(tmp_path, app_yaml)
    assert message.startswith(f"{tmp_path / 'app.yaml'}, line {line}: ")
    assert reason in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("app_yaml", "facts"),
    [
        ("", ["empty", "runtime: python313"]),
        ("# runtime: python313\n", ["empty", "runtime: python313"]),
        ("service: one\n", ["runtime is missing", "runtime: python313"]),
        ("null\n", []),
        ("- a\n", []),
        ("a: b\n---\n", []),
        (
            "runtime: python313\nlibraries: [{name: webapp2, version: latest}]\n",
            ["libraries", "requirements.txt"],
        ),
        ("runtime: python27\n", ["runtime: python27", GUIDE]),
        ("runtime: nodejs20\n", ["runtime: nodejs20"]),
        ("runtime: python\nenv: flex\n", ["env: flex"]),
    ],
)
def test_an_app_yaml_that_cannot_be_used(
    tmp_path: Path, app_yaml: str, facts: list[str]
) -> None:
    """The message has the file and the reason; only Python 2 has a guide."""
    message = error_of(tmp_path, app_yaml)
    assert str(tmp_path / "app.yaml") in message
    assert all(fact in message for fact in facts)
    assert (GUIDE in message) is (GUIDE in facts)


def test_what_is_not_text(tmp_path: Path) -> None:
    """The message for a file that is not UTF-8 has its path."""
    (tmp_path / "app.yaml").write_bytes(b"runtime: \xff\n")
    with pytest.raises(ConfigError, match=re.escape(str(tmp_path / "app.yaml"))):
        load(tmp_path)


def test_a_wrong_folder(tmp_path: Path) -> None:
    """The message has the path and what is wrong with it."""
    with pytest.raises(ConfigError, match=f" app.yaml in {tmp_path}"):
        load(tmp_path)
    with pytest.raises(ConfigError, match=f" {tmp_path / 'missing'}"):
        load(tmp_path / "missing")
    write(tmp_path, "runtime: python313\n")
    with pytest.raises(ConfigError, match=f": {tmp_path}$"):
        load(tmp_path / "app.yaml")


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
    message = error_of(tmp_path, f"runtime: {HERE}\nhandlers:\n- {handler}\n")
    assert reason in message


def test_app_yaml_alone_is_read_without_the_task_queue(tmp_path: Path) -> None:
    """The app starts before the SDK's task queue is imported, which is slow."""
    write(tmp_path, "runtime: python313\n", "queue:\n- name: a\n")
    script = """
import pathlib, sys
import gae_devserver.app.process
from gae_devserver.config.app_yaml import load_app_yaml

load_app_yaml(pathlib.Path(sys.argv[1]))
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
