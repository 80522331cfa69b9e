"""Which service of App Engine a task of Cloud Tasks names."""

from gae_devserver.cloud_tasks.messages import Task


def service_in(description: bytes) -> str:
    """Return the service in the routing of a task, or "".

    `description` is the task as a queue keeps it. The version may be another: that of
    the app when it made the task.
    """
    task = Task.FromString(description)
    return str(task.app_engine_http_request.app_engine_routing.service)
