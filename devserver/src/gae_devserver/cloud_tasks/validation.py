"""Refuses the tasks that Cloud Tasks refuses.

Sources: the comments of google.cloud.tasks_v2.types, and "Quotas and limits". The names
of fields are written as in the answers of Cloud Tasks.
"""

from typing import Any
from urllib.parse import quote

from gae_devserver.http.forwarding import is_valid
from gae_devserver.rpc.errors import check

_MAX_URL = 2083
_MAX_HEADERS = 80 * 2**10
# "Maximum task size" in https://cloud.google.com/tasks/docs/quotas
_MAX_APP_ENGINE_TASK = 100 * 2**10
_MAX_HTTP_TASK = 2**20
_MAX_SCHEDULE_SECONDS = 30 * 24 * 3600
_MINUTE, _DAY = 60.0, 24 * 3600.0
_MAX_SHOWN = 100  # characters of a value in an error

# the ranges of google/protobuf/duration.proto and timestamp.proto
_MAX_DURATION_SECONDS = 315_576_000_000
_TIMESTAMP_SECONDS = range(-62_135_596_800, 253_402_300_800)
_NANOS = 10**9


def check_task(task: Any, now: float) -> None:
    """Check a google.cloud.tasks.v2.Task; `now` is the time in the app.

    Raises:
        InvalidArgumentError: Cloud Tasks does not take it; the text names the field.
    """
    kind = task.WhichOneof("message_type")
    check(kind, "Task.httpRequest or Task.appEngineHttpRequest is required.")
    if kind == "http_request":
        _check_http_request(task.http_request)
    else:
        _check_app_engine_request(task.app_engine_http_request)
    if task.HasField("schedule_time"):
        name = "Task.scheduleTime"
        check_timestamp(task.schedule_time, name)
        seconds = task.schedule_time.seconds
        check(
            seconds <= now + _MAX_SCHEDULE_SECONDS,
            f"{name} must be at most 30 days in the future: it is"
            f" {(seconds - now) / _DAY:.1f} days in the future.",
        )
    if task.HasField("dispatch_deadline"):
        _check_deadline(task.dispatch_deadline, is_http=kind == "http_request")
    if task.HasField("retry_config"):
        check_retry_config(task.retry_config)


def _check_http_request(request: Any) -> None:
    url = request.url
    check(url, "HttpRequest.url is required.")
    check(
        url.startswith(("http://", "https://")),
        f"HttpRequest.url must start with 'http://' or 'https://': {_shown(url)}.",
    )
    length = len(quote(url, safe="!#$%&'()*+,/:;=?@[]~"))
    check(
        length <= _MAX_URL,
        f"HttpRequest.url must have at most {_MAX_URL} characters after encoding: "
        f"{_shown(url)} has {length}.",
    )
    _check_method_and_body(request, "HttpRequest", ("POST", "PUT", "PATCH"))
    size = _check_headers(request.headers, "HttpRequest.headers")
    check(
        size < _MAX_HEADERS,
        f"HttpRequest.headers must have less than 80 KB: they have {size} bytes.",
    )
    if request.HasField("oidc_token"):
        check(
            request.oidc_token.service_account_email,
            "HttpRequest.oidcToken.serviceAccountEmail is required.",
        )
    size += len(url) + len(request.body)
    check(
        size <= _MAX_HTTP_TASK,
        f"The task is too large: it has {size} bytes, and the limit is 1 MB.",
    )


def _check_app_engine_request(request: Any) -> None:
    field, uri = "AppEngineHttpRequest.relativeUri", request.relative_uri
    check(
        not uri or uri.startswith("/"), f"{field} must start with '/': {_shown(uri)}."
    )
    check(" " not in uri, f"{field} must have no space: {_shown(uri)}.")
    check(
        len(uri) <= _MAX_URL,
        f"{field} must have at most {_MAX_URL} characters: {_shown(uri)} has "
        f"{len(uri)}.",
    )
    _check_method_and_body(request, "AppEngineHttpRequest", ("POST", "PUT"))
    size = _check_headers(request.headers, "AppEngineHttpRequest.headers")
    # as the SDK counts it: what it takes must not fail here
    size += len(uri) + len(request.body)
    check(
        size <= _MAX_APP_ENGINE_TASK,
        f"The task is too large: it has {size} bytes, and the limit is 100 KB.",
    )


def _check_method_and_body(
    request: Any, field: str, with_body: tuple[str, ...]
) -> None:
    methods = request.DESCRIPTOR.fields_by_name["http_method"].enum_type
    number = request.http_method
    check(
        number in methods.values_by_number, f"{field}.httpMethod is unknown: {number}."
    )
    method = methods.values_by_number[number or 1].name
    check(
        not request.body or method in with_body,
        f"{field}.body is allowed only if {field}.httpMethod is one of "
        f"{', '.join(with_body)}: it is {method}.",
    )


def _check_headers(headers: Any, field: str) -> int:
    """Check the headers of a task; return how many bytes they have."""
    size = 0
    for name, value in headers.items():
        check(
            is_valid(name.encode(), value.encode()),
            f"{field} has a header that HTTP does not allow: {_shown(name)}: "
            f"{_shown(value)}.",
        )
        size += len(name.encode()) + len(value.encode())
    return size


def _check_deadline(deadline: Any, *, is_http: bool) -> None:
    name = "Task.dispatchDeadline"
    seconds = check_duration(deadline, name)
    most, text = (30 * _MINUTE, "30m") if is_http else (_DAY + 15, "24h15s")
    # for App Engine, 0 is the default deadline
    check(
        15 <= seconds <= most or (seconds == 0 and not is_http),
        f"{name} must be between [15s, {text}]: it is {seconds:g}s.",
    )


def check_retry_config(config: Any) -> None:
    """Check the RetryConfig of a task or of a queue.

    Raises:
        InvalidArgumentError: a value is not allowed; the text names the field.
    """
    check(
        config.max_attempts >= -1,
        "RetryConfig.maxAttempts must be greater or equal to -1: it is "
        f"{config.max_attempts}.",
    )
    check(
        config.max_doublings >= 0,
        f"RetryConfig.maxDoublings cannot be negative: it is {config.max_doublings}.",
    )
    seconds = {}
    for field, name in (
        ("max_retry_duration", "maxRetryDuration"),
        ("min_backoff", "minBackoff"),
        ("max_backoff", "maxBackoff"),
    ):
        if config.HasField(field):
            path = f"RetryConfig.{name}"
            value = seconds[field] = check_duration(getattr(config, field), path)
            check(value >= 0, f"{path} cannot be negative: it is {value:g}s.")
    if seconds.keys() >= {"min_backoff", "max_backoff"}:
        check(
            seconds["min_backoff"] <= seconds["max_backoff"],
            "RetryConfig.minBackoff must be less than or equal to "
            f"RetryConfig.maxBackoff: {seconds['min_backoff']:g}s is more than "
            f"{seconds['max_backoff']:g}s.",
        )


def check_duration(duration: Any, field: str) -> float:
    """Check a Duration; return it in seconds.

    Raises:
        InvalidArgumentError: no Duration has these values.
    """
    seconds, nanos = duration.seconds, duration.nanos
    check(
        abs(seconds) <= _MAX_DURATION_SECONDS
        and abs(nanos) < _NANOS
        and seconds * nanos >= 0,
        f"{field} is no valid Duration: seconds {seconds}, nanos {nanos}.",
    )
    return seconds + nanos / _NANOS


def check_timestamp(timestamp: Any, field: str) -> None:
    """Check a Timestamp.

    Raises:
        InvalidArgumentError: no Timestamp has these values.
    """
    seconds, nanos = timestamp.seconds, timestamp.nanos
    check(
        seconds in _TIMESTAMP_SECONDS and 0 <= nanos < _NANOS,
        f"{field} is no valid Timestamp: seconds {seconds}, nanos {nanos}.",
    )


def _shown(value: str) -> str:
    return repr(value if len(value) <= _MAX_SHOWN else f"{value[:_MAX_SHOWN]}...")
