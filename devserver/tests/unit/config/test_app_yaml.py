"""What is read in app.yaml and queue.yaml, and how it is said what is wrong there."""

import subprocess
import sys
from pathlib import Path

import pytest
from gae_devserver.config import app_yaml as config
from gae_devserver.config.parsing import ConfigError
from gae_devserver.config.queue_yaml import QueueConfig

HERE = f"python3{sys.version_info[1]}"


def write(folder: Path, app_yaml: str, queue_yaml: str | None = None) -> Path:
    """Make an app's folder with these files."""
    (folder / "app.yaml").write_text(app_yaml)
    if queue_yaml is not None:
        (folder / "queue.yaml").write_text(queue_yaml)
    return folder


def load(
    folder: Path, app_yaml: str, queue_yaml: str | None = None
) -> config.AppConfig:
    """Write the files and read them."""
    return config.load(write(folder, app_yaml, queue_yaml))


def error_of(folder: Path, app_yaml: str, queue_yaml: str | None = None) -> str:
    """Return the message for files that cannot be used."""
    with pytest.raises(ConfigError) as caught:
        load(folder, app_yaml, queue_yaml)
    return str(caught.value)


def test_the_least_app_yaml(tmp_path: Path) -> None:
    """A runtime is enough: default service, default queue, no App Engine APIs."""
    app = load(tmp_path, f"runtime: {HERE}\n")
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
    app = load(
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
        ("a\tb: {", 1, "cannot start any token"),
        ("runtime: python313\nfoo: bar\n", 2, "'foo'"),
        ("runtime: python313\nruntime: python312\n", 2, "Duplicate"),
        ("runtime: python313\nentrypoint: {shell: x}\n", 2, "AssertionError"),
        ("runtime: &x python313\n", 1, "Anchors"),
        ("runtime: 5\n", 1, "'5' for runtime"),
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
    assert message.endswith("app.yaml: it is empty. Add: runtime: python313")


def test_no_runtime(tmp_path: Path) -> None:
    """It is asked for, and no line is named in which nothing is wrong."""
    message = error_of(tmp_path, "service: one\n")
    assert message.endswith("app.yaml: there is no runtime. Add: runtime: python313")


def test_libraries_of_python_2(tmp_path: Path) -> None:
    """They are refused for Python 3, and the message says where packages stand."""
    libraries = "libraries:\n- name: webapp2\n  version: latest\n"
    message = error_of(tmp_path, f"runtime: python313\n{libraries}")
    assert message.endswith(
        ": libraries is refused for a Python 3 runtime. Delete it; packages stand in "
        "requirements.txt."
    )


@pytest.mark.parametrize("app_yaml", ["", "null\n", "- a\n", "text\n", "a: b\n---\n"])
def test_what_is_no_app_yaml_at_all(tmp_path: Path, app_yaml: str) -> None:
    """An empty file, a list and a text are refused with the file's name."""
    assert str(tmp_path / "app.yaml") in error_of(tmp_path, app_yaml)


def test_what_is_not_text(tmp_path: Path) -> None:
    """A file that is not UTF-8 is a message for the user too."""
    (tmp_path / "app.yaml").write_bytes(b"runtime: \xff\n")
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load(tmp_path)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """The message names the folder."""
    with pytest.raises(ConfigError, match=r"There is no folder .*missing"):
        config.load(tmp_path / "missing")


def test_a_folder_without_app_yaml(tmp_path: Path) -> None:
    """The message says what is missing in which folder."""
    with pytest.raises(ConfigError, match=r"no app\.yaml in"):
        config.load(tmp_path)


def test_a_file_in_place_of_a_folder(tmp_path: Path) -> None:
    """Who gives app.yaml itself is told to give its folder."""
    write(tmp_path, "runtime: python313\n")
    with pytest.raises(ConfigError, match=f"Give the folder of the app: {tmp_path}$"):
        config.load(tmp_path / "app.yaml")


@pytest.mark.parametrize(
    "app_yaml",
    ["runtime: python27\n", "runtime: nodejs20\n", "runtime: python\nenv: flex\n"],
)
def test_a_runtime_that_cannot_be_run(tmp_path: Path, app_yaml: str) -> None:
    """Python 2, other languages and the flexible environment are refused."""
    assert "cannot be run" in error_of(tmp_path, app_yaml)


@pytest.mark.parametrize(
    ("runtime", "named"), [("python27", True), ("nodejs20", False)]
)
def test_python_2_has_a_guide(tmp_path: Path, runtime: str, named: bool) -> None:
    """Whoever comes from there, and nobody else, is told where to read on."""
    message = error_of(tmp_path, f"runtime: {runtime}\n")
    assert message.endswith("see docs/python2-to-python3.md.") is named


def test_another_minor_version_is_a_notice(tmp_path: Path) -> None:
    """The app is run on this Python, with one line that says so."""
    (notice,) = load(tmp_path, "runtime: python37\n").warnings
    assert "python37" in notice
    assert "Python {}.{}".format(*sys.version_info) in notice


@pytest.mark.parametrize(
    ("app_yaml", "text"),
    [
        ("entrypoint: exec gunicorn main:app", "exec"),
        ("threadsafe: true", "gcloud app deploy refuses it"),
        ("threadsafe: false", "gcloud app deploy refuses it"),
        ("application: x", "refuses it: delete it, and use --project."),
        ("version: one", "refuses it: delete it, and use --version."),
        ("automatic_scaling:\n  max_instances: 3", "automatic_scaling"),
        ("vpc_access_connector:\n  name: x", "vpc_access_connector"),
        ("handlers:\n- url: /a\n  script: auto\n  login: admin", "login: admin"),
        ("handlers:\n- url: /a\n  script: auto\n  secure: always", "secure: always"),
        ("handlers:\n- url: /a\n  script: main.app", "main.app"),
        ("inbound_services: [warmup, mail]", "inbound_services: mail"),
        ('env_variables: {GAE_ENV: "x"}', "GAE_ENV"),
        ('env_variables: {PORT: "1"}', "PORT"),
        (
            'env_variables: {APPENGINE_USE_CLOUDTASK_PUSH_QUEUE: "true"}',
            "Cloud Tasks is not emulated",
        ),
        (
            "builtins:\n- deferred: on",
            "use_deferred=True) replaces deferred",
        ),
    ],
)
def test_what_is_not_emulated_is_said(tmp_path: Path, app_yaml: str, text: str) -> None:
    """One line for each setting that has no effect here."""
    (warning,) = load(tmp_path, f"runtime: {HERE}\n{app_yaml}\n").warnings
    assert text in warning


def test_files_that_are_not_emulated_are_said(tmp_path: Path) -> None:
    """dispatch.yaml, cron.yaml and the other services each get one line."""
    (tmp_path / "backend").mkdir()
    (tmp_path / "backend" / "app.yaml").write_text("runtime: python313\n")
    (tmp_path / "worker.yaml").write_text("service: worker\nruntime: python313\n")
    (tmp_path / "unrelated.yaml").write_text("a: b\n")
    for name in ("cron.yaml", "dispatch.yaml", "index.yaml"):
        (tmp_path / name).write_text("")
    warnings = load(tmp_path, f"runtime: {HERE}\n").warnings
    assert [warning.split()[0] for warning in warnings] == [
        "dispatch.yaml",
        "cron.yaml",
        "backend/app.yaml",
        "worker.yaml",
    ]


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        ("url: /(\n  script: auto", "unterminated"),
        (r"url: /a" + "\n  static_files: s/\\1\n  upload: s/.*", "group"),
        ("url: /a\n  static_dir: ../outside", "outside the app's folder"),
        ("url: /a\n  static_dir: /etc", "outside the app's folder"),
        ("url: /a\n  static_files: ../x\n  upload: .*", "outside the app's folder"),
    ],
)
def test_a_handler_that_cannot_work(tmp_path: Path, handler: str, reason: str) -> None:
    """A broken pattern and a folder outside the app are found at start."""
    message = error_of(tmp_path, f"runtime: {HERE}\nhandlers:\n- {handler}\n")
    assert reason in message


def test_queue_yaml(tmp_path: Path) -> None:
    """All settings of a queue arrive, and the default queue is there beside it."""
    app = load(
        tmp_path,
        f"runtime: {HERE}\n",
        """\
queue:
- name: slow
  rate: 30/m
  bucket_size: 2
  max_concurrent_requests: 1
  target: v2.worker
  retry_parameters:
    task_retry_limit: 7
    task_age_limit: 2d
- name: pulled
  mode: pull
  acl:
  - user_email: a@example.com
  - writer_email: b@example.com
- name: held
  rate: 0
""",
    )
    queues = {queue.name: queue for queue in app.queues}
    assert list(queues) == ["slow", "pulled", "held", "default"]
    slow = queues["slow"]
    assert (slow.mode, slow.rate, slow.rate_text) == ("push", 0.5, "30/m")
    assert (slow.bucket_size, slow.max_concurrent_requests) == (2, 1)
    assert slow.target == "v2.worker"
    assert slow.retry_parameters is not None
    assert slow.retry_parameters.task_retry_limit == 7
    assert slow.retry_parameters.task_age_limit == "2d"
    assert queues["pulled"].mode == "pull"
    assert queues["pulled"].acl == ("a@example.com", "b@example.com")
    assert queues["held"].rate == 0.0
    assert queues["default"] == QueueConfig("default")


def test_queue_yaml_may_set_the_default_queue(tmp_path: Path) -> None:
    """The default queue is not there twice."""
    queue_yaml = "queue:\n- name: default\n  rate: 5/s\n"
    (queue,) = load(tmp_path, f"runtime: {HERE}\n", queue_yaml).queues
    assert (queue.name, queue.rate) == ("default", 5.0)


@pytest.mark.parametrize(
    ("queue_yaml", "reason"),
    [
        ("queue:\n- name: a\n  speed: 5\n", "line 3"),
        ("queue:\n- name: a\n- name: a\n", "listed twice"),
        ("queue:\n- rate: 5/s\n", "line 3: Missing required value [name]"),
        ('queue:\n- name: ""\n', "a queue has no name"),
        ("queue:\n- name: a\n  rate: 5/year\n", "'5/year'"),
        (
            "queue:\n- name: a\n  retry_parameters:\n    task_retry_limit: -1\n",
            "queue a: Task retry limit",
        ),
        (
            "queue:\n- name: a\n  retry_parameters:\n    max_doublings: 2147483648\n",
            "queue a: Value out of range: 2147483648",
        ),
        (
            "queue:\n- name: a\n  max_concurrent_requests: -1\n",
            "queue a: max_concurrent_requests is -1",
        ),
        ("queue:\n- name: a\n  bucket_size: -1\n", "queue a: bucket_size is -1"),
        ("", "queue.yaml"),
    ],
)
def test_a_queue_yaml_that_cannot_be_used(
    tmp_path: Path, queue_yaml: str, reason: str
) -> None:
    """The message has the file and what is wrong."""
    message = error_of(tmp_path, f"runtime: {HERE}\n", queue_yaml)
    assert str(tmp_path / "queue.yaml") in message
    assert reason in message


def test_app_yaml_alone_is_read_without_the_task_queue(tmp_path: Path) -> None:
    """The app is started before the SDK's task queue is imported, which takes long."""
    write(tmp_path, "runtime: python313\n", "queue:\n- name: a\n")
    script = (
        "import pathlib, sys\n"
        "from devserver import app_process, config\n"
        "config.load_app_yaml(pathlib.Path(sys.argv[1]))\n"
        "print(sys.modules.keys() & {'aiohttp', 'google.appengine.api.taskqueue'})"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"
