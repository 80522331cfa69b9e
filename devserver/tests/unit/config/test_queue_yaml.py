"""What the server reads in queue.yaml, and how it reports a mistake."""

import dataclasses
from pathlib import Path

import pytest

from gae_devserver.config.queue_yaml import QueueConfig
from tests.helpers.config_files import LEAST, error_of, loaded


def test_queue_yaml(tmp_path: Path) -> None:
    """The server reads all settings of a queue, and adds the default queue."""
    app = loaded(
        tmp_path,
        LEAST,
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
    slow, pulled, held, default = app.queues
    assert dataclasses.replace(slow, retry_parameters=None) == QueueConfig(
        "slow",
        rate=0.5,
        rate_text="30/m",
        bucket_size=2,
        max_concurrent_requests=1,
        target="v2.worker",
    )
    assert slow.retry_parameters is not None
    assert slow.retry_parameters.task_retry_limit == 7
    assert slow.retry_parameters.task_age_limit == "2d"
    acl = ("a@example.com", "b@example.com")
    assert pulled == QueueConfig("pulled", mode="pull", acl=acl)
    assert (held.name, held.rate) == ("held", 0.0)
    assert default == QueueConfig("default")


def test_queue_yaml_may_set_the_default_queue(tmp_path: Path) -> None:
    """The server does not add a second default queue."""
    queue_yaml = "queue:\n- name: default\n  rate: 5/s\n"
    (queue,) = loaded(tmp_path, LEAST, queue_yaml).queues
    assert (queue.name, queue.rate) == ("default", 5.0)


@pytest.mark.parametrize(
    ("queue_yaml", "line", "facts"),
    [
        ("- name: a\n", 1, ["a list", "'queue:'"]),
        ("foo\n", 1, ["'queue:'"]),
        ("42\n", 1, ["'queue:'"]),
        ("queues:\n- name: a\n", 1, ["'queues'", "'queue'"]),
        ("queue:\n  name: a\n", 1, ["'queue'", "'- '"]),
        ("queue:\n- a\n", 2, ["'a'", "name: "]),
        ("queue:\n-name: a\n", 2, ["'-name'", "'- name'"]),
        ("queue:\n- name: a\n- name: a\n", 3, ["queue a "]),
        ("queue:\n- rate: 5/s\n", 2, ["'name'"]),
        ('queue:\n- name: ""\n', 2, ["name"]),
        ("queue:\n- name: slow_queue\n", 2, ["'slow_queue'", "'name: slow-queue'"]),
    ],
)
def test_a_queue_yaml_that_cannot_be_used(
    tmp_path: Path, queue_yaml: str, line: int, facts: list[str]
) -> None:
    """The message has the file, the line and what to write."""
    message = error_of(tmp_path, LEAST, queue_yaml)
    assert message.startswith(f"{tmp_path / 'queue.yaml'}, line {line}: ")
    assert all(fact in message for fact in facts)


@pytest.mark.parametrize(
    ("setting", "line", "facts"),
    [
        ("raet: 5/s", 3, ["'raet'", "'rate'"]),
        ("task_retry_limit: 5", 3, ["'retry_parameters'"]),
        ("retry_limit: 5", 3, ["'task_retry_limit'", "'retry_parameters'"]),
        ("rate: 5", 3, ["'5'", "'rate: 5/s'"]),
        ("rate: 5/min", 3, ["'5/min'", "'rate: 5/m'"]),
        ("rate: often", 3, ["'often'", "'rate: 5/s'"]),
        ("mode: pul", 3, ["'pul'", "'mode: pull'"]),
        ("bucket_size: ten", 3, ["'ten'", "'bucket_size: 10'"]),
        ("bucket_size: -1", 3, ["queue a: bucket_size is -1"]),
        ("max_concurrent_requests: -1", 3, ["queue a: max_concurrent_requests is -1"]),
        ("retry_parameters: 5", 3, ["'5'", "task_retry_limit: "]),
        ("retry_parameters:\n    task_age_limit: 5", 4, ["'task_age_limit: 5s'"]),
        ("retry_parameters:\n    task_age_limit: 0s", 3, ["queue a"]),
        ("retry_parameters:\n    task_age_limit: infs", 3, ["queue a"]),
        ("retry_parameters:\n    task_retry_limit: -1", 4, ["queue a", " -1"]),
        ("retry_parameters:\n    max_doublings: 2147483648", 3, ["2147483648"]),
        ("retry_parameters:\n    min_backoff_seconds: 5s", 4, ["_seconds: 5'"]),
        ("retry_parameters: {min_backoff_seconds: 9, max_backoff_seconds: 5}", 3, []),
    ],
)
def test_a_setting_that_cannot_be_used(
    tmp_path: Path, setting: str, line: int, facts: list[str]
) -> None:
    """The message has the line, the value and what to write, and no expression."""
    message = error_of(tmp_path, LEAST, f"queue:\n- name: a\n  {setting}\n")
    assert message.startswith(f"{tmp_path / 'queue.yaml'}, line {line}: ")
    assert all(fact in message for fact in facts)
    assert "[0-9]" not in message


@pytest.mark.parametrize("queue_yaml", ["", "# queue:\n"])
def test_an_empty_queue_yaml(tmp_path: Path, queue_yaml: str) -> None:
    """The message has the file."""
    assert str(tmp_path / "queue.yaml") in error_of(tmp_path, LEAST, queue_yaml)


@pytest.mark.parametrize(
    ("queue_yaml", "line", "facts"),
    [
        ("queue:\n", 1, ["no queue"]),
        ("application: x\nqueue: [{name: a, rate: 5/s}]\n", 1, ["--project"]),
        ("queue:\n- name: a\n", 2, ["queue a", "'rate: 5/s'"]),
        ("queue:\n- name: a\n  rate: 501/s\n", 3, ["500/s", "501/s"]),
        ("queue:\n- name: a\n  rate: 5/s\n  bucket_size: 501\n", 4, ["500", "501"]),
    ],
)
def test_what_gcloud_refuses(
    tmp_path: Path, queue_yaml: str, line: int, facts: list[str]
) -> None:
    """A queue that works here, but not when deployed, causes a warning."""
    (warning,) = loaded(tmp_path, LEAST, queue_yaml).warnings
    assert warning.startswith(f"{tmp_path / 'queue.yaml'}, line {line}: ")
    assert all(fact in warning for fact in facts)
