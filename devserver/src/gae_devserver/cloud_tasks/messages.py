"""The messages of google.cloud.tasks.v2, without the rest of the client library."""

from typing import Any

from google.cloud.tasks_v2.types import task

Task: Any = task.Task.pb()
