"""What is read in app.yaml, and how a mistake there is reported."""

import subprocess
import sys
from pathlib import Path

import pytest

from gae_devserver.config.app_yaml import load
from gae_devserver.config.parsing import ConfigError
from gae_devserver.config.queue_yaml import QueueConfig
from tests.helpers.config_files import HERE, error_of, loaded, write


def test_the_least_app_yaml(tmp_path: Path) -> None:
    """A runtime is enough: default service, default queue, no App Engine APIs."""
    app = loaded(tmp_path, f"runtime: {HERE}\n")
    assert (app.runtime, app.service, app.entrypoint) == (HERE, "default", None)
    assert app.env_variables == {}
    assert not app.app_engine_apis
    assert not app.warmup
    assert app.static_handlers == ()
    assert app.queues == (QueueConfig("default"),)
    assert app.warnings == ()
    assert (app.version, app.memory_mb) == (None, 384)


def test_everything_that_is_honoured(tmp_path: Path) -> None:
    """What app.yaml says arrives as it stands there, the entrypoint without "exec"."""
    app = loaded(
        tmp_path,
        f"""\
runtime: {HERE}
service: worker
instance_class: F4
app_engine_apis: true
entrypoint: gunicorn -w 2 'main:create_app()'
inbound_services: [warmup]
env_variables:
  NUMBER: 1
  TEXT: "False"
""",
    )
    assert app.service == "worker"
    assert app.memory_mb == 1536
    assert app.app_engine_apis
    assert app.entrypoint == "gunicorn -w 2 'main:create_app()'"
    assert app.warmup
    assert app.env_variables == {"NUMBER": "1", "TEXT": "False"}
    assert app.warnings == ()


@pytest.mark.parametrize(
    ("app_yaml", "line", "reason"),
    [
        ("runtime: python313\nhandlers:\n- url: [\n", 3, "url"),
        ("a\tb: {", 1, "not valid YAML"),
        ("runtime: python313\nhandlers: [\n", 3, "not valid YAML"),
        ("runtime: python313\nentrypiont: x\n", 2, "'entrypoint'"),
        (
            "runtime: python313\nhandlers:\n- url: /\n  scirpt: auto\n",
            4,
            "'script'",
        ),
        ("runtime: python313\nfoo: bar\n", 2, "'foo'"),
        ("runtime: python313\nruntime: python312\n", 2, "'runtime'"),
        ("runtime: python313\nentrypoint: {shell: x}\n", 2, "text"),
        ("runtime: &x python313\n", 1, "Anchors"),
        ("runtime: 5\n", 1, "'runtime'"),
    ],
)
def test_a_mistake_is_named_with_its_line(
    tmp_path: Path, app_yaml: str, line: int, reason: str
) -> None:
    """Whatever the parser stumbles over, the message has the file, line and reason."""
    message = error_of(tmp_path, app_yaml)
    assert message.startswith(f"{tmp_path / 'app.yaml'}, line {line}: ")
    assert reason in message
    assert "\n" not in message


@pytest.mark.parametrize("app_yaml", ["", "# runtime: python313\n"])
def test_an_empty_app_yaml(tmp_path: Path, app_yaml: str) -> None:
    """The message says that it is empty, and what it needs at least."""
    message = error_of(tmp_path, app_yaml)
    assert message.startswith(f"{tmp_path / 'app.yaml'}: ")
    assert "empty" in message
    assert message.endswith("runtime: python313")


def test_no_runtime(tmp_path: Path) -> None:
    """It is asked for, and no line is named in which nothing is wrong."""
    message = error_of(tmp_path, "service: one\n")
    assert message.startswith(f"{tmp_path / 'app.yaml'}: ")
    assert message.endswith("runtime: python313")


def test_libraries_of_python_2(tmp_path: Path) -> None:
    """They are refused for Python 3, and the message says where packages stand."""
    libraries = "libraries:\n- name: webapp2\n  version: latest\n"
    message = error_of(tmp_path, f"runtime: python313\n{libraries}")
    assert "libraries" in message
    assert "requirements.txt" in message


@pytest.mark.parametrize("app_yaml", ["", "null\n", "- a\n", "text\n", "a: b\n---\n"])
def test_what_is_no_app_yaml_at_all(tmp_path: Path, app_yaml: str) -> None:
    """An empty file, a list and a text are refused with the file's name."""
    assert str(tmp_path / "app.yaml") in error_of(tmp_path, app_yaml)


def test_what_is_not_text(tmp_path: Path) -> None:
    """A file that is not UTF-8 is a message for the user too."""
    (tmp_path / "app.yaml").write_bytes(b"runtime: \xff\n")
    with pytest.raises(ConfigError) as error:
        load(tmp_path)
    assert str(tmp_path / "app.yaml") in str(error.value)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """The message names the folder."""
    with pytest.raises(ConfigError) as error:
        load(tmp_path / "missing")
    assert str(tmp_path / "missing") in str(error.value)


def test_a_folder_without_app_yaml(tmp_path: Path) -> None:
    """The message says what is missing in which folder."""
    with pytest.raises(ConfigError) as error:
        load(tmp_path)
    assert "app.yaml" in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_a_file_in_place_of_a_folder(tmp_path: Path) -> None:
    """Who gives app.yaml itself is told to give its folder."""
    write(tmp_path, "runtime: python313\n")
    with pytest.raises(ConfigError, match=f": {tmp_path}$"):
        load(tmp_path / "app.yaml")


@pytest.mark.parametrize(
    ("app_yaml", "named"),
    [
        ("runtime: python27\n", "runtime: python27"),
        ("runtime: nodejs20\n", "runtime: nodejs20"),
        ("runtime: python\nenv: flex\n", "env: flex"),
    ],
)
def test_a_runtime_that_cannot_be_run(
    tmp_path: Path, app_yaml: str, named: str
) -> None:
    """Python 2, other languages and the flexible environment are refused."""
    assert named in error_of(tmp_path, app_yaml)


@pytest.mark.parametrize(
    ("runtime", "named"), [("python27", True), ("nodejs20", False)]
)
def test_python_2_has_a_guide(tmp_path: Path, runtime: str, named: bool) -> None:
    """Whoever comes from there, and nobody else, is told where to read on."""
    message = error_of(tmp_path, f"runtime: {runtime}\n")
    assert ("docs/python2-to-python3.md" in message) is named


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
    """A broken pattern and a folder outside the app are found at start."""
    message = error_of(tmp_path, f"runtime: {HERE}\nhandlers:\n- {handler}\n")
    assert reason in message


def test_app_yaml_alone_is_read_without_the_task_queue(tmp_path: Path) -> None:
    """The app is started before the SDK's task queue is imported, which takes long."""
    write(tmp_path, "runtime: python313\n", "queue:\n- name: a\n")
    script = (
        "import pathlib, sys\n"
        "import gae_devserver.app.process\n"
        "from gae_devserver.config.app_yaml import load_app_yaml\n"
        "load_app_yaml(pathlib.Path(sys.argv[1]))\n"
        "print(sys.modules.keys() & {'aiohttp', 'google.appengine.api.taskqueue'})"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("libraries: [{name: webapp2, version: latest}]", "libraries"),
        ("no_such_setting: 1", "line 2: .*no_such_setting"),
    ],
)
def test_settings_that_are_refused(setting: str, message: str, tmp_path: Path) -> None:
    """What App Engine does not take for Python 3, or does not know, is an error."""
    with pytest.raises(ConfigError, match=message):
        loaded(tmp_path, f"runtime: python313\n{setting}\n")


def test_settings_without_effect(tmp_path: Path) -> None:
    """What else App Engine knows in these files changes nothing."""
    app_yaml, queue_yaml = "runtime: python313\n", "queue:\n- name: default\n"
    plain = loaded(tmp_path, app_yaml, queue_yaml)

    assert plain == loaded(
        tmp_path,
        app_yaml + "api_version: 1\nskip_files: x\n",
        queue_yaml + "total_storage_limit: 1M\n",
    )
