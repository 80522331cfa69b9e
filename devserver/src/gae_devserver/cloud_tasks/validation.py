"""Refuses the tasks that Cloud Tasks refuses.

Sources: the comments of google.cloud.tasks_v2.types, and "Quotas and limits" at
https://cloud.google.com/tasks/docs/quotas.
"""

from typing import Any
from urllib.parse import quote

from gae_devserver.cloud_tasks.messages import HttpMethod
from gae_devserver.cloud_tasks.tasks import seconds
from gae_devserver.http.forwarding import is_valid
from gae_devserver.rpc.errors import check, refuse_if

_MAX_URL = 2083
_MAX_HEADERS = 80 * 2**10
_MAX_APP_ENGINE_TASK = 100 * 2**10
_MAX_HTTP_TASK = 2**20
_MINUTE, _DAY = 60.0, 24 * 3600.0
_MAX_SCHEDULE_DAYS = 30
_MAX_SHOWN = 100  # characters of a value in an error

# the ranges of google/protobuf/duration.proto and timestamp.proto
_MAX_DURATION_SECONDS = 315_576_000_000
_TIMESTAMP_SECONDS = range(-62_135_596_800, 253_402_300_800)
_NANOS = 10**9


def check_task(task: Any, now: float) -> None:
    """Check a google.cloud.tasks.v2.Task; `now` is the time in the app.

    Raises:
        InvalidArgumentError: Cloud Tasks does not take it; the text names the field.
        UnimplementedError: the dev server lacks what it asks for.
    """
    kind = task.WhichOneof("message_type")
    check(kind, "task has neither http_request nor app_engine_http_request.")
    if kind == "http_request":
        _check_http_request(task.http_request)
    else:
        _check_app_engine_request(task.app_engine_http_request)
    if task.HasField("schedule_time"):
        check_timestamp(task.schedule_time, "task.schedule_time")
        days = (task.schedule_time.seconds - now) / _DAY
        check(
            days <= _MAX_SCHEDULE_DAYS,
            f"task.schedule_time is {days:.4g} days ahead, but it must be at most "
            f"{_MAX_SCHEDULE_DAYS} days ahead.",
        )
    if task.HasField("dispatch_deadline"):
        _check_deadline(task.dispatch_deadline, is_http=kind == "http_request")
    if task.HasField("retry_config"):
        check_retry_config(task.retry_config, "task.retry_config")


def _check_http_request(request: Any) -> None:
    field, url = "task.http_request", request.url
    check(
        url.startswith(("http://", "https://")),
        f"{field}.url is {_shown(url)}, but it must start with http:// or https://.",
    )
    length = len(quote(url, safe="!#$%&'()*+,/:;=?@[]~"))
    check(
        length <= _MAX_URL,
        f"{field}.url has {length} characters after encoding, but it must have at "
        f"most {_MAX_URL}: {_shown(url)}",
    )
    _check_method_and_body(request, field, ("POST", "PUT", "PATCH"))
    size = _check_headers(request.headers, field)
    check(
        size < _MAX_HEADERS,
        f"{field}.headers has {size} bytes, but it must have less than 80 KB.",
    )
    refuse_if(request.HasField("oauth_token"), "HttpRequest.oauth_token")
    if request.HasField("oidc_token"):
        check(
            request.oidc_token.service_account_email,
            f"{field}.oidc_token.service_account_email is empty, but it must name the "
            "service account.",
        )
    size += len(url) + len(request.body)
    check(
        size <= _MAX_HTTP_TASK,
        f"task has {size} bytes, but it must have at most 1 MB.",
    )


def _check_app_engine_request(request: Any) -> None:
    field, uri = "task.app_engine_http_request", request.relative_uri
    check(
        uri.startswith("/") or not uri,
        f"{field}.relative_uri is {_shown(uri)}, but it must start with /.",
    )
    check(
        " " not in uri,
        f"{field}.relative_uri is {_shown(uri)}, but it must have no space.",
    )
    check(
        len(uri) <= _MAX_URL,
        f"{field}.relative_uri has {len(uri)} characters, but it must have at most "
        f"{_MAX_URL}: {_shown(uri)}",
    )
    _check_method_and_body(request, field, ("POST", "PUT"))
    # counted as by the SDK: a task that it takes must not fail here
    size = _check_headers(request.headers, field) + len(uri) + len(request.body)
    check(
        size <= _MAX_APP_ENGINE_TASK,
        f"task has {size} bytes, but it must have at most 100 KB.",
    )


def _check_method_and_body(
    request: Any, field: str, with_body: tuple[str, ...]
) -> None:
    number = request.http_method
    check(
        number in HttpMethod.__members__.values(),
        f"{field}.http_method is {number}, which is no method.",
    )
    method = HttpMethod(number or HttpMethod.POST).name
    check(
        not request.body or method in with_body,
        f"{field}.body is set, but {field}.http_method is {method}. Only "
        f"{', '.join(with_body)} may have a body.",
    )


def _check_headers(headers: Any, field: str) -> int:
    """Check the headers of a request; return how many bytes they have."""
    size = 0
    for name, value in headers.items():
        check(
            is_valid(name.encode(), value.encode()),
            f"{field}.headers has {_shown(name)}: {_shown(value)}, which HTTP does not "
            "allow.",
        )
        size += len(name.encode()) + len(value.encode())
    return size


def _check_deadline(deadline: Any, *, is_http: bool) -> None:
    value = check_duration(deadline, "task.dispatch_deadline")
    most, text = (30 * _MINUTE, "30 minutes") if is_http else (_DAY + 15, "24 h 15 s")
    # for App Engine, 0 is the default deadline
    check(
        15 <= value <= most or (value == 0 and not is_http),
        f"task.dispatch_deadline is {value:g} s, but it must be from 15 s to {text}.",
    )


def check_retry_config(config: Any, field: str) -> None:
    """Check the RetryConfig of a task or of a queue.

    Raises:
        InvalidArgumentError: a value is not allowed; the text names the field.
    """
    check(
        config.max_attempts >= -1,
        f"{field}.max_attempts is {config.max_attempts}, but it must be -1 (unlimited) "
        "or more.",
    )
    check(
        config.max_doublings >= 0,
        f"{field}.max_doublings is {config.max_doublings}, but it must be 0 or more.",
    )
    for name in ("max_retry_duration", "min_backoff", "max_backoff"):
        value = check_duration(getattr(config, name), f"{field}.{name}")
        check(
            # the SDK's message holds no more
            0.0 <= value < 2**31,
            f"{field}.{name} is {value:g} s, but it must be from 0 s to 68 years.",
        )
    if config.HasField("min_backoff") and config.HasField("max_backoff"):
        check_backoff(config, field)


def check_backoff(config: Any, field: str) -> None:
    """Check the order of the two backoffs of a RetryConfig.

    Raises:
        InvalidArgumentError: `min_backoff` is longer than `max_backoff`.
    """
    least, most = seconds(config.min_backoff), seconds(config.max_backoff)
    check(
        least <= most,
        f"{field}.min_backoff is {least:g} s, but it must be at most max_backoff, "
        f"which is {most:g} s.",
    )


def check_duration(duration: Any, field: str) -> float:
    """Check a Duration; return it in seconds.

    Raises:
        InvalidArgumentError: no Duration has these values.
    """
    check(
        abs(duration.seconds) <= _MAX_DURATION_SECONDS
        and abs(duration.nanos) < _NANOS
        and duration.seconds * duration.nanos >= 0,
        f"{field} has {duration.seconds} seconds and {duration.nanos} nanos, which is "
        "no duration.",
    )
    return seconds(duration)


def check_timestamp(timestamp: Any, field: str) -> None:
    """Check a Timestamp.

    Raises:
        InvalidArgumentError: no Timestamp has these values.
    """
    check(
        timestamp.seconds in _TIMESTAMP_SECONDS and 0 <= timestamp.nanos < _NANOS,
        f"{field} has {timestamp.seconds} seconds and {timestamp.nanos} nanos, which "
        "is no time.",
    )


def _shown(value: str) -> str:
    return repr(value if len(value) <= _MAX_SHOWN else f"{value[:_MAX_SHOWN]}...")
