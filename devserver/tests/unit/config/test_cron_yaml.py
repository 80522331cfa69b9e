"""What the server reads in cron.yaml, and how it reports a mistake."""

from pathlib import Path

import pytest

from gae_devserver.config.application import Application, load
from tests.helpers.config_files import LEAST, error_of, write

DAILY = "schedule: every day 9:00\n"


def read(folder: Path, cron_yaml: str, app_yaml: str = LEAST) -> Application:
    """Write the files and read them."""
    (folder / "cron.yaml").write_text(cron_yaml)
    return load([write(folder, app_yaml)])


def test_cron_yaml(tmp_path: Path) -> None:
    """The server reads all settings of a job, and knows their defaults.

    A file without jobs deletes them on App Engine.
    """
    daily, often = read(
        tmp_path,
        """\
cron:
- description: daily report
  url: /daily?full=1
  schedule: every day 09:00
  timezone: europe/berlin
  target: default
  attempt_deadline: 90.5s
  retry_parameters:
    job_age_limit: 2d
    min_backoff_seconds: 2.5
    max_doublings: 3
- url: /often
  schedule: every 5 mins
""",
    ).cron_jobs
    assert (daily.url, daily.description) == ("/daily?full=1", "daily report")
    assert (daily.schedule_text, daily.timezone) == ("every day 09:00", "Europe/Berlin")
    assert (daily.target, daily.attempt_deadline) == ("default", 90.5)
    retries = daily.retry_parameters
    assert (retries.task_retry_limit, retries.task_age_limit) == (None, "2d")
    assert (retries.min_backoff_seconds, retries.max_doublings) == (2.5, 3)
    # 9:00 in winter
    assert daily.schedule.next_after(0.0) == 8 * 3600
    assert (often.timezone, often.target, often.attempt_deadline) == ("UTC", None, None)
    assert often.retry_parameters.task_retry_limit == 0
    assert read(tmp_path, "cron:\n").cron_jobs == ()


@pytest.mark.parametrize(
    ("setting", "line", "facts"),
    [
        ("schedule: every 1 hour", 3, ["'every 1 hour'", "'hours'", "every 24 hours"]),
        ("schedule: 0 9 * * *", 3, ["'0 9 * * *'", "every 24 hours"]),
        ("schedule: 5", 3, ["'5'", "every 24 hours"]),
        ("schedul: every 5 mins", 3, ["'schedule'"]),
        ("description: a", 2, ["'schedule'"]),
        ("url: /b", 3, ["'url'"]),
        (f"{DAILY}  timezone: Berlin", 4, ["'Berlin'"]),
        (f"{DAILY}  target: b_a", 4, ["'b_a'", "'target: b-a'"]),
        (f"{DAILY}  target: v1.b", 4, ["'v1.b'", "'target: b:v1'"]),
        (f"{DAILY}  attempt_deadline: 5", 4, ["_deadline: 5s'"]),
        (f"{DAILY}  attempt_deadline: -5s", 4, ["above 0"]),
        (f"{DAILY}  attempt_deadline: nans", 4, ["'nans'"]),
        ("retry_parameters: {job_retry_limit: -1}", 3, ["'-1'", "0 to 5"]),
        ("retry_parameters: {job_age_limit: 5}", 3, ["'job_age_limit: 5s'"]),
        ("retry_parameters: {task_retry_limit: 1}", 3, ["'job_retry_limit'"]),
        (
            f"{DAILY}  retry_parameters: {{max_doublings: 2147483648}}",
            4,
            ["2147483648"],
        ),
    ],
)
def test_a_setting_that_cannot_be_used(
    tmp_path: Path, setting: str, line: int, facts: list[str]
) -> None:
    """The message has the file, the line, the value and what to write."""
    (tmp_path / "cron.yaml").write_text(f"cron:\n- url: /a\n  {setting}\n")
    message = error_of(tmp_path, LEAST)
    assert message.startswith(f"{tmp_path / 'cron.yaml'}, line {line}: ")
    assert all(fact in message for fact in facts)


@pytest.mark.parametrize(
    ("settings", "service", "fact"),
    [
        ("", "worker", "'target: worker'"),
        ("target: beta", "default", "'beta'"),
        ("target: other:v1", "default", "'other:v1'"),
        ("retry_parameters: {job_retry_limit: 6}", "default", "at most 5"),
        ("target: worker", "worker", ""),
        ("target: worker:v2", "worker", ""),
        ("target: one", "worker", ""),
    ],
)
def test_what_app_engine_does_otherwise(
    tmp_path: Path, settings: str, service: str, fact: str
) -> None:
    """A job of another service is worth a warning, and what gcloud app deploy refuses.

    A job without target belongs to the service `default`.
    """
    cron_yaml = f"cron:\n- url: /a\n  schedule: every 5 mins\n  {settings}\n"
    app = read(tmp_path, cron_yaml, f"{LEAST}service: {service}\nversion: one\n")
    about_cron = [text for text in app.warnings if "cron.yaml, line " in text]
    assert len(about_cron) == bool(fact)
    assert fact in "".join(about_cron)
    (job,) = app.cron_jobs
    assert job.is_elsewhere is (bool(fact) and "retry" not in settings)
