"""Tasks of Cloud Tasks as tasks of a queue, and back.

The queue's own task (a QueryTasksResponse.Task of the SDK) keeps the task as it was
sent in its field `description`, but without the body, which it has anyway.
"""

import math
from typing import Any

from google.appengine.api.taskqueue import taskqueue_service_bytes_pb2 as pb
from google.protobuf import duration_pb2
from google.rpc import code_pb2

from gae_devserver.cloud_tasks import messages
from gae_devserver.config.service_file import DEFAULT
from gae_devserver.tasks.attempts import has_answer
from gae_devserver.tasks.queues import Queue

StubTask: Any = pb.TaskQueueQueryTasksResponse.Task
_STUB_METHODS: dict[str, int] = dict(StubTask.RequestMethod.items())
_OUTPUT_ONLY = (
    "create_time",
    "dispatch_count",
    "response_count",
    "first_attempt",
    "last_attempt",
    "view",
)
_FULL = messages.Task.FULL
_BASIC = messages.Task.BASIC
_HOST = "localhost"
"""The host of the app, without its port, which may be another after a restart."""
_HTTP_SECONDS = 600.0
"""The default deadline of an HTTP target."""
_LONGEST_SECONDS = 315_576_000_000.0
"""The longest Duration, by google/protobuf/duration.proto."""

# https://cloud.google.com/tasks/docs/reference/rpc/google.rpc#google.rpc.Code
_CODES = {
    400: code_pb2.INVALID_ARGUMENT,
    401: code_pb2.UNAUTHENTICATED,
    403: code_pb2.PERMISSION_DENIED,
    404: code_pb2.NOT_FOUND,
    409: code_pb2.ABORTED,
    416: code_pb2.OUT_OF_RANGE,
    429: code_pb2.RESOURCE_EXHAUSTED,
    499: code_pb2.CANCELLED,
    501: code_pb2.UNIMPLEMENTED,
    503: code_pb2.UNAVAILABLE,
    504: code_pb2.DEADLINE_EXCEEDED,
}


def request_of(task: Any) -> Any:
    """Return the AppEngineHttpRequest or the HttpRequest of a task."""
    return getattr(task, task.WhichOneof("message_type"))


def url_of(task: Any) -> str:
    """Return the URL of an HTTP target, or the relative one of an App Engine target."""
    request = request_of(task)
    if task.HasField("http_request"):
        return str(request.url)
    return str(request.relative_uri or "/")


def seconds(duration: duration_pb2.Duration) -> float:
    """Return a Duration in seconds."""
    return duration.seconds + duration.nanos / 1e9


def stub_task(task: Any, name: str, now: float, offset: float, queue: Queue) -> Any:
    """Return a task of Cloud Tasks as a queue keeps it.

    `now` is the server's time in seconds since the epoch, which is ahead of the app's
    by `offset`.
    """
    request = request_of(task)
    stored = StubTask(
        task_name=name.encode(),
        creation_time_usec=int(now * 1e6),
        retry_count=0,
        method=_stub_method(request.http_method),
        url=url_of(task).encode(),
    )
    if request.body:
        stored.body = request.body
    for key, value in request.headers.items():
        stored.header.add(key=key.encode(), value=value.encode())
    stored.eta_usec = int(now * 1e6)
    if task.HasField("schedule_time"):
        due = task.schedule_time.ToMicroseconds() + int(offset * 1e6)
        stored.eta_usec = max(stored.eta_usec, due)
    deadline = seconds(task.dispatch_deadline)
    if deadline or task.HasField("http_request"):
        stored.dispatch_deadline_usec = int((deadline or _HTTP_SECONDS) * 1e6)
    if task.HasField("retry_config"):
        _set_retry_parameters(stored.retry_parameters, task.retry_config, queue)
    as_sent = messages.Task.FromString(task.SerializeToString())
    for field in ("name", "schedule_time", *_OUTPUT_ONLY):
        as_sent.ClearField(field)
    kept = request_of(as_sent)
    kept.ClearField("body")
    kept.http_method = kept.http_method or messages.HttpMethod.POST
    if as_sent.HasField("app_engine_http_request"):
        kept.relative_uri = kept.relative_uri or "/"
    stored.description = as_sent.SerializeToString()
    return stored


def _set_retry_parameters(parameters: Any, config: Any, queue: Queue) -> None:
    """Fill the SDK's parameters from a task's RetryConfig.

    What the task leaves out is that of its queue.
    """
    if queue.retry_parameters is not None:
        parameters.CopyFrom(queue.retry_parameters)
    if config.max_attempts:
        parameters.ClearField("retry_limit")
        if config.max_attempts > 0:
            parameters.retry_limit = config.max_attempts - 1
    if config.HasField("max_retry_duration"):
        parameters.ClearField("age_limit_sec")
        if age := math.ceil(seconds(config.max_retry_duration)):
            parameters.age_limit_sec = age
    if config.HasField("min_backoff"):
        parameters.min_backoff_sec = seconds(config.min_backoff)
    if config.HasField("max_backoff"):
        parameters.max_backoff_sec = seconds(config.max_backoff)
    if config.max_doublings:
        parameters.max_doublings = config.max_doublings
    if parameters.max_backoff_sec < parameters.min_backoff_sec:
        parameters.max_backoff_sec = parameters.min_backoff_sec


def describe_retries(parameters: Any, into: Any) -> None:
    """Fill a RetryConfig from the SDK's parameters."""
    has_limit = parameters.HasField("retry_limit")
    limit = min(parameters.retry_limit + 1, 2**31 - 1)
    into.max_attempts = limit if has_limit else -1
    if parameters.HasField("age_limit_sec"):
        into.max_retry_duration.seconds = parameters.age_limit_sec
    _set_seconds(into.min_backoff, parameters.min_backoff_sec)
    _set_seconds(into.max_backoff, parameters.max_backoff_sec)
    into.max_doublings = parameters.max_doublings


def describe(
    task: Any,
    into: Any,
    queue: Queue,
    *,
    parent: str,
    view: int,
    offset: float,
) -> None:
    """Fill a Task of Cloud Tasks from a task of a queue, whichever API added it.

    `parent` is the queue's name in the request, and `offset` the seconds that the
    server's clock is ahead of the app's.
    """
    if task.description:
        into.MergeFromString(task.description)
        request = request_of(into)
    else:
        request = into.app_engine_http_request
        request.http_method = messages.HttpMethod[
            StubTask.RequestMethod.Name(task.method)
        ].value
        request.relative_uri = _text(task.url)
        if (service := queue.service_of(task)) != DEFAULT:
            request.app_engine_routing.service = service
        for header in task.header:
            request.headers[_text(header.key)] = _text(header.value)
        if task.HasField("dispatch_deadline_usec"):
            _set_seconds(into.dispatch_deadline, task.dispatch_deadline_usec / 1e6)
        if task.HasField("retry_parameters"):
            describe_retries(task.retry_parameters, into.retry_config)
    name = task.task_name.decode()
    into.name = f"{parent}/tasks/{name}"
    into.view = view or _BASIC
    if into.view == _FULL:
        request.body = task.body
    if into.HasField("app_engine_http_request"):
        routing = request.app_engine_routing
        parts = (routing.instance, routing.version, routing.service, _HOST)
        routing.host = ".".join(filter(None, parts))
    set_time(into.schedule_time, task.eta_usec, offset)
    into.create_time.seconds = int(task.creation_time_usec / 1e6 - offset)
    running = name in queue.running
    into.dispatch_count = task.retry_count + running
    into.response_count = task.execution_count
    # one that was just chosen to run has not begun yet
    if into.dispatch_count and task.HasField("first_try_usec"):
        set_time(into.first_attempt.dispatch_time, task.first_try_usec, offset)
        _describe_attempt(task, into.last_attempt, offset)


def _describe_attempt(task: Any, into: Any, offset: float) -> None:
    log = task.runlog
    set_time(into.schedule_time, log.dispatched_usec - log.lag_usec, offset)
    set_time(into.dispatch_time, log.dispatched_usec, offset)
    if has_answer(task):
        set_time(into.response_time, log.dispatched_usec + log.elapsed_usec, offset)
        code = _code_of(log.response_code)
        into.response_status.code = code
        into.response_status.message = (
            f"{code_pb2.Code.Name(code)}({code}): HTTP status code {log.response_code}"
        )


def _code_of(status: int) -> int:
    """Return the code of an answer that is an error."""
    for_others = {4: code_pb2.FAILED_PRECONDITION, 5: code_pb2.INTERNAL}
    return _CODES.get(status, for_others.get(status // 100, code_pb2.UNKNOWN))


def method_of(task: Any) -> str:
    """Return the HTTP method of a queue's task, such as "PATCH"."""
    if task.description:
        request = request_of(messages.Task.FromString(task.description))
        return str(messages.HttpMethod(request.http_method).name)
    return str(StubTask.RequestMethod.Name(task.method))


def _stub_method(method: int) -> int:
    """Return the SDK's number of a method; for one that it lacks, that of POST."""
    post = _STUB_METHODS["POST"]
    return _STUB_METHODS.get(messages.HttpMethod(method).name, post)


def _set_seconds(into: Any, value: float) -> None:
    """Set a Duration; the bundled API takes values, even NaN, that none can have."""
    into.FromMicroseconds(int(min(max(0.0, value), _LONGEST_SECONDS) * 1e6))


def set_time(into: Any, usec: int, offset: float) -> None:
    """Set a Timestamp in the app's time, which is `offset` seconds behind `usec`."""
    into.FromMicroseconds(usec - int(offset * 1e6))


def _text(data: bytes) -> str:
    return data.decode(errors="replace")
