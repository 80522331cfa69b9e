"""What the server reads in queue.yaml, and how it reports a mistake."""

import dataclasses
from pathlib import Path

import pytest

from gae_devserver.config.queue_yaml import QueueConfig
from tests.helpers.config_files import HERE, error_of, loaded


def test_queue_yaml(tmp_path: Path) -> None:
    """The server reads all settings of a queue, and adds the default queue."""
    app = loaded(
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
    (queue,) = loaded(tmp_path, f"runtime: {HERE}\n", queue_yaml).queues
    assert (queue.name, queue.rate) == ("default", 5.0)


@pytest.mark.parametrize(
    ("queue_yaml", "reason"),
    [
        ("queue:\n- name: a\n  speed: 5\n", "line 3"),
        ("queue:\n- name: a\n  raet: 5/s\n", "'rate'"),
        ("queue:\n- name: a\n- name: a\n", "queue a "),
        ("queue:\n- rate: 5/s\n", "line 3: Missing required value [name]"),
        ('queue:\n- name: ""\n', "name"),
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
            "queue:\n- name: a\n  retry_parameters:\n    task_age_limit: infs\n",
            "queue a: the task_age_limit",
        ),
        (
            "queue:\n- name: a\n  max_concurrent_requests: -1\n",
            "queue a: max_concurrent_requests is -1",
        ),
        ("queue:\n- name: a\n  bucket_size: -1\n", "queue a: bucket_size is -1"),
        ("", "empty"),
        ("# queue:\n", "empty"),
    ],
)
def test_a_queue_yaml_that_cannot_be_used(
    tmp_path: Path, queue_yaml: str, reason: str
) -> None:
    """The message has the file and the reason."""
    message = error_of(tmp_path, f"runtime: {HERE}\n", queue_yaml)
    assert str(tmp_path / "queue.yaml") in message
    assert reason in message
    assert "[0-9]" not in message
