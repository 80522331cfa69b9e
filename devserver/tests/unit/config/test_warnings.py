"""Warnings about settings without effect, and about files in the app's folder."""

from pathlib import Path

import pytest

from tests.helpers.config_files import LEAST, loaded


@pytest.mark.parametrize(
    ("app_yaml", "text"),
    [
        ("entrypoint: exec gunicorn main:app", "exec"),
        ("threadsafe: true", "line 2: the setting 'threadsafe'"),
        ("threadsafe: false", "'threadsafe'"),
        ("application: x", "--project"),
        ("version: one", "--version"),
        ("automatic_scaling:\n  max_instances: 3", "automatic_scaling"),
        ("manual_scaling:\n  instances: 3", "one instance instead of 3"),
        ("vpc_access_connector:\n  name: x", "vpc_access_connector"),
        ("handlers:\n- url: /a\n  script: auto\n  secure: always", "secure: always"),
        ("handlers:\n- url: /a\n  script: main.app", "'script: main.app'"),
        ("handlers:\n- url: /a\n  script: main.app", "'/a'"),
        ("inbound_services: [mail, rest]", "inbound_services: rest"),
        ('env_variables: {GAE_ENV: "x"}', "GAE_ENV"),
        ('env_variables: {PORT: "1"}', "PORT"),
        ("env_variables: {APPENGINE_USE_SMTP_MAIL_SERVICE: yes}", "--smtp-host"),
        ('env_variables: {CLOUD_TASKS_EMULATOR_HOST: "a:1"}', "connect to a:1, "),
        ("env_variables: {LEVELS: [A, B]}", "LEVELS takes one value, not a list: "),
        ("builtins:\n- deferred: on", "use_deferred=True"),
        ("instance_class: F9", "'F9'"),
        ("instance_class: f2", "Write F2"),
    ],
)
def test_settings_without_effect(tmp_path: Path, app_yaml: str, text: str) -> None:
    """Each setting without effect, or that gcloud refuses, causes one warning."""
    (warning,) = loaded(tmp_path, f"{LEAST}{app_yaml}\n").warnings
    assert text in warning
    assert warning.endswith(".")


def test_a_runtime_without_a_minor_version(tmp_path: Path) -> None:
    """The app can run on any Python 3 here, but App Engine has no such runtime."""
    (warning,) = loaded(tmp_path, "runtime: python3\n").warnings
    assert "'python3'" in warning


@pytest.mark.parametrize(
    ("handler", "warned"),
    [
        ("static_dir: static", False),
        ("static_dir: missing", True),
        ("static_dir: file.txt", True),
        (r"{static_files: static/\1.css, upload: static/.*\.css}", False),
        (r"{static_files: missing/\1.js, upload: missing/.*\.js}", True),
        ("{static_files: file.txt, upload: file.txt}", False),
        ("{static_files: missing.txt, upload: missing.txt}", True),
    ],
)
def test_a_static_handler_without_a_file(
    tmp_path: Path, handler: str, *, warned: bool
) -> None:
    """A folder or a file that does not exist causes a warning."""
    (tmp_path / "static").mkdir()
    (tmp_path / "file.txt").write_text("")
    fields = handler.strip("{}")
    app_yaml = f"{LEAST}handlers:\n- {{url: '/s/(.*)', {fields}}}\n"
    warnings = loaded(tmp_path, app_yaml).warnings
    assert len(warnings) == warned
    assert all(f"{tmp_path / 'app.yaml'}, line 3: " in text for text in warnings)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("main.py", "from google.appengine.ext import deferred\n"),
        ("requirements.txt", "appengine-python-standard==3.1.0\n"),
    ],
)
def test_an_app_that_forgets_app_engine_apis(
    tmp_path: Path, file: str, text: str
) -> None:
    """If an app uses the SDK without the setting, a warning has the line to add."""
    (tmp_path / file).write_text(text)
    (warning,) = loaded(tmp_path, LEAST).warnings
    assert "'app_engine_apis: true'" in warning
    setting = "app_engine_apis: true\n"
    assert loaded(tmp_path, f"{LEAST}{setting}").warnings == ()


def test_files_without_effect(tmp_path: Path) -> None:
    """dispatch.yaml and each other service cause one warning."""
    (tmp_path / "backend").mkdir()
    (tmp_path / "backend" / "app.yaml").write_text("runtime: python313\n")
    (tmp_path / "worker.yaml").write_text("service: worker\nruntime: python313\n")
    (tmp_path / "unrelated.yaml").write_text("a: b\n")
    (tmp_path / "dispatch.yaml").write_text("")
    (tmp_path / "index.yaml").write_text("indexes:\n")
    warnings = loaded(tmp_path, LEAST).warnings
    assert [warning.split()[0] for warning in warnings] == [
        "dispatch.yaml",
        "backend/app.yaml",
        "worker.yaml",
    ]


def test_a_broken_link(tmp_path: Path) -> None:
    """A copy without -L has broken links. Hidden links of editors are ignored.

    So are links to existing files, and all links in folders below.
    """
    (tmp_path / "below").mkdir()
    for place in ("common", ".#main.py", "below/common"):
        (tmp_path / place).symlink_to("../not-there")
    (tmp_path / "kept").symlink_to("below")

    (warning,) = loaded(tmp_path, LEAST).warnings

    assert warning.startswith(f"{tmp_path / 'common'} ")
    assert "cp -RL" in warning
