"""The headers of a task's request."""

from typing import Any, cast

import pytest
from google.appengine.api.taskqueue import taskqueue_service_bytes_pb2 as pb

from gae_devserver.tasks.headers import task_headers
from gae_devserver.tasks.queues import Queue


class _Named:
    queue_name = "default"


@pytest.mark.parametrize("value", ["café".encode(), "café".encode("latin-1")])
def test_a_value_that_is_not_ascii(value: bytes) -> None:
    """It is UTF-8, or else Latin-1."""
    task: Any = pb.TaskQueueQueryTasksResponse.Task(task_name=b"t", eta_usec=0)
    task.header.add(key=b"X-Name", value=value)
    headers = task_headers(cast(Queue, _Named()), task, offset=0.0)
    assert headers[0] == ("X-Name", "café")
