"""Which tasks Cloud Tasks takes."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.cloud.tasks_v2 import types
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from gae_devserver.cloud_tasks.validation import check_task
from gae_devserver.rpc.errors import InvalidArgumentError

NOW = 1_700_000_000
URL = "https://a.test/"
KB = 2**10


def http(**fields: Any) -> dict[str, Any]:
    """Return a task with an HTTP target."""
    return {"http_request": {"url": URL, **fields}}


def app_engine(**fields: Any) -> dict[str, Any]:
    """Return a task with an App Engine target."""
    return {"app_engine_http_request": fields}


def retry(**fields: Any) -> dict[str, Any]:
    """Return a task with retry settings."""
    return {**http(), "retry_config": fields}


def due(days: float) -> dict[str, Any]:
    """Return a task that is due in so many days."""
    moment = datetime.fromtimestamp(NOW, UTC) + timedelta(days=days)
    return {**http(), "schedule_time": moment}


def with_deadline(task: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Return a task with a deadline."""
    return {**task, "dispatch_deadline": timedelta(seconds=seconds)}


def check(task: dict[str, Any]) -> None:
    """Check a task."""
    check_task(types.Task.pb(types.Task(task)), NOW)


@pytest.mark.parametrize(
    "task",
    [
        app_engine(),
        app_engine(relative_uri="/" + "x" * 2082, headers={"X-A": "é, b"}),
        app_engine(http_method="PUT", body=b"x" * 100 * KB),
        http(url="http://"),
        # Cloud Tasks does not look at the rest of a URL either
        http(url="http://a.test/%zz"),
        http(http_method="PATCH", body=b"x" * 1000 * KB),
        http(oidc_token={"service_account_email": "a@b.test"}),
        due(-1),
        due(30),
        with_deadline(http(), 15),
        with_deadline(http(), 1800),
        with_deadline(app_engine(), 0),
        with_deadline(app_engine(), 24 * 3600 + 15),
        retry(max_attempts=-1, min_backoff=timedelta(1), max_backoff=timedelta(1)),
    ],
)
def test_a_valid_task(task: dict[str, Any]) -> None:
    """Cloud Tasks takes it."""
    check(task)


@pytest.mark.parametrize(
    ("task", "facts"),
    [
        ({}, "http_request app_engine_http_request"),
        (http(url=""), "http_request.url"),
        (http(url="a.test/x"), "http_request.url 'a.test/x'"),
        (http(url="ftp://a.test"), "http_request.url 'ftp://a.test'"),
        (http(url=URL + "ü" * 400), "http_request.url 2083 2415"),
        (http(http_method=99), "http_request.http_method 99"),
        (http(http_method="GET", body=b"x"), "http_request.body GET"),
        (http(headers={"a b": ""}), "http_request.headers 'a b'"),
        (http(headers={"X-A": "b\r\nHost: c"}), r"http_request.headers b\r\nHost"),
        (http(headers={"X-A": "x" * 80 * KB}), "http_request.headers 81923"),
        (
            http(oidc_token={"audience": "a"}),
            "http_request.oidc_token.service_account_email",
        ),
        (http(body=b"x" * KB * KB), "1048591 1 MB"),
        (app_engine(relative_uri="x"), "app_engine_http_request.relative_uri 'x'"),
        (
            app_engine(relative_uri="/a b"),
            "app_engine_http_request.relative_uri '/a b'",
        ),
        (
            app_engine(relative_uri="/" * 2084),
            "app_engine_http_request.relative_uri 2084",
        ),
        (
            app_engine(http_method="PATCH", body=b"x"),
            "app_engine_http_request.body PATCH",
        ),
        (app_engine(headers={"": "x"}), "app_engine_http_request.headers ''"),
        (app_engine(body=b"x" * 100 * KB, headers={"a": "b"}), "102402 100 KB"),
        (due(30.01), "task.schedule_time 30.0"),
        ({**http(), "schedule_time": Timestamp(nanos=-1)}, "task.schedule_time -1"),
        ({**http(), "schedule_time": Timestamp(seconds=10**12)}, "task.schedule_time"),
        (with_deadline(http(), 0), "task.dispatch_deadline 0"),
        (with_deadline(http(), 1800.5), "task.dispatch_deadline 1800.5"),
        (with_deadline(app_engine(), 14.9), "task.dispatch_deadline 14.9"),
        (with_deadline(app_engine(), 86416), "task.dispatch_deadline 86416"),
        (
            {**http(), "dispatch_deadline": Duration(seconds=20, nanos=-1)},
            "task.dispatch_deadline 20 -1",
        ),
        (retry(max_attempts=-2), "retry_config.max_attempts -2"),
        (retry(max_doublings=-1), "retry_config.max_doublings -1"),
        (
            retry(max_retry_duration=timedelta(-1)),
            "retry_config.max_retry_duration -86400",
        ),
        (retry(min_backoff=Duration(seconds=10**12)), "retry_config.min_backoff"),
        (
            retry(min_backoff=timedelta(0, 2), max_backoff=timedelta(0, 1)),
            "retry_config.min_backoff max_backoff 2 1",
        ),
    ],
)
def test_an_invalid_task(task: dict[str, Any], facts: str) -> None:
    """The error names the field and the value."""
    with pytest.raises(InvalidArgumentError) as error:
        check(task)
    for fact in facts.split():
        assert fact in str(error.value)
