"""Warnings about settings without effect, and about files in the app's folder."""

from pathlib import Path

import pytest

from tests.helpers.config_files import HERE, loaded


@pytest.mark.parametrize(
    ("app_yaml", "text"),
    [
        ("entrypoint: exec gunicorn main:app", "exec"),
        ("threadsafe: true", "'threadsafe'"),
        ("threadsafe: false", "'threadsafe'"),
        ("application: x", "--project"),
        ("version: one", "--version"),
        ("automatic_scaling:\n  max_instances: 3", "automatic_scaling"),
        ("vpc_access_connector:\n  name: x", "vpc_access_connector"),
        ("handlers:\n- url: /a\n  script: auto\n  login: admin", "login: admin"),
        ("handlers:\n- url: /a\n  script: auto\n  secure: always", "secure: always"),
        ("handlers:\n- url: /a\n  script: main.app", "'script: main.app'"),
        ("handlers:\n- url: /a\n  script: main.app", "'/a'"),
        ("inbound_services: [warmup, mail]", "inbound_services: mail"),
        ('env_variables: {GAE_ENV: "x"}', "GAE_ENV"),
        ('env_variables: {PORT: "1"}', "PORT"),
        (
            'env_variables: {APPENGINE_USE_CLOUDTASK_PUSH_QUEUE: "true"}',
            "APPENGINE_USE_CLOUDTASK_PUSH_QUEUE",
        ),
        ("builtins:\n- deferred: on", "use_deferred=True"),
    ],
)
def test_settings_without_effect(tmp_path: Path, app_yaml: str, text: str) -> None:
    """Each setting without effect causes one warning."""
    (warning,) = loaded(tmp_path, f"runtime: {HERE}\n{app_yaml}\n").warnings
    assert text in warning


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
    (warning,) = loaded(tmp_path, f"runtime: {HERE}\n").warnings
    assert "'app_engine_apis: true'" in warning
    setting = "app_engine_apis: true\n"
    assert loaded(tmp_path, f"runtime: {HERE}\n{setting}").warnings == ()


def test_files_without_effect(tmp_path: Path) -> None:
    """dispatch.yaml, cron.yaml and each other service cause one warning."""
    (tmp_path / "backend").mkdir()
    (tmp_path / "backend" / "app.yaml").write_text("runtime: python313\n")
    (tmp_path / "worker.yaml").write_text("service: worker\nruntime: python313\n")
    (tmp_path / "unrelated.yaml").write_text("a: b\n")
    for name in ("cron.yaml", "dispatch.yaml", "index.yaml"):
        (tmp_path / name).write_text("")
    warnings = loaded(tmp_path, f"runtime: {HERE}\n").warnings
    assert [warning.split()[0] for warning in warnings] == [
        "dispatch.yaml",
        "cron.yaml",
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

    (warning,) = loaded(tmp_path, f"runtime: {HERE}\n").warnings

    assert warning.startswith(f"{tmp_path / 'common'} ")
    assert "cp -RL" in warning
