"""Where a task (a QueryTasksResponse.Task) is sent, and what it notes of attempts."""

from typing import Any


def is_for_app(task: Any) -> bool:
    """Return whether the app gets a task, and not an HTTP target."""
    return bool(task.url.startswith(b"/"))


def begin_attempt(task: Any, now: float) -> None:
    """Note in a task that it is sent at `now`, in seconds since the epoch.

    The status of the previous attempt stays, because the app gets it.
    """
    log = task.runlog
    log.dispatched_usec = int(now * 1e6)
    log.lag_usec = log.dispatched_usec - task.eta_usec
    log.elapsed_usec = -1
    if task.retry_count == 0:
        task.first_try_usec = log.dispatched_usec


def end_attempt(task: Any, now: float, status: int) -> None:
    """Note the status of the app's answer, which came at `now`."""
    task.runlog.response_code = status
    if status >= 500:
        task.runlog.retry_reason = str(server_errors(task) + 1)
    task.runlog.elapsed_usec = max(0, int(now * 1e6) - task.runlog.dispatched_usec)


def lose_answer(task: Any, *, late: bool) -> None:
    """Note that the attempt had no answer, and whether it exceeded its deadline.

    Production then names a status: 504 to an HTTP target, and 0 to the app.
    """
    # the next attempt must not name the answer to an earlier one
    task.runlog.ClearField("response_code")
    if late:
        task.runlog.response_code = 0 if is_for_app(task) else 504


def as_new(task: Any, name: str, now: float) -> Any:
    """Return a copy that has another name, is due now, and has had no attempt."""
    fresh = type(task).FromString(task.SerializeToString())
    for field in ("runlog", "first_try_usec", "execution_count"):
        fresh.ClearField(field)
    fresh.retry_count = 0
    fresh.task_name = name.encode()
    fresh.eta_usec = fresh.creation_time_usec = int(now * 1e6)
    return fresh


def server_errors(task: Any) -> int:
    """Return how many answers of the app had a status of 5XX."""
    # the message has no counter for them, and nothing else uses this field
    return int(task.runlog.retry_reason or 0)


def has_answer(task: Any) -> bool:
    """Return whether the app has answered the last attempt."""
    return task.HasField("runlog") and task.runlog.elapsed_usec >= 0
