"""HTTP targets of queues: how they change the requests of tasks."""

from typing import Any

import pytest
from google.cloud import tasks_v2
from google.protobuf import field_mask_pb2
from google.rpc import code_pb2

from tests.helpers.waiting import until
from tests.unit.cloud_tasks.conftest import Cloud
from tests.unit.cloud_tasks.test_queues import MADE, make, queues, update
from tests.unit.cloud_tasks.test_tasks import code_of

pytestmark = pytest.mark.asyncio

HTTP, HTTPS = 1, 2
IF_NOT_EXISTS, ALWAYS = 1, 2


async def sent(cloud: Cloud, **request: Any) -> Any:
    """Return what a task with an HTTP target sends."""
    await cloud.v2.create_task(parent=MADE, task={"http_request": request})
    await until(lambda: cloud.runner.finished)
    return cloud.app.executions[-1]


EVERY = {
    "scheme": HTTP,
    "host": "b.localhost",
    "port": 81,
    "path_override": {"path": "/c"},
    "query_override": {"query_params": "d=e"},
}


@pytest.mark.parametrize(
    ("url", "override", "expected"),
    [
        ("https://a:1/x?y=z", {}, "https://a:1/x?y=z"),
        ("https://a:1/x?y=z", EVERY, "http://b.localhost:81/c?d=e"),
        (
            "https://a",
            EVERY | {"uri_override_enforce_mode": ALWAYS},
            "http://b.localhost:81/c?d=e",
        ),
        (
            "https://a:1/x?y=z",
            EVERY | {"uri_override_enforce_mode": IF_NOT_EXISTS},
            "https://a:1/x?y=z",
        ),
        (
            "https://a",
            EVERY | {"uri_override_enforce_mode": IF_NOT_EXISTS},
            "https://a:81/c?d=e",
        ),
        ("http://u:p@[::1]:1/x", {"scheme": HTTPS}, "https://u:p@[::1]:1/x"),
        ("http://[::1]/x", {"port": 2}, "http://[::1]:2/x"),
        ("http://a:1/x?y", {"port": 0}, "http://a/x?y"),
        ("http://a:1/x?y", {"path_override": {}}, "http://a:1?y"),
        ("http://a:1/x?y", {"query_override": {}}, "http://a:1/x"),
        ("http://a/x", {"path_override": {"path": "c"}}, "http://a/c"),
    ],
)
async def test_parts_of_the_url(
    cloud: Cloud, url: str, override: dict[str, Any], expected: str
) -> None:
    """Each part that the queue has replaces that of the task."""
    await make(cloud, http_target={"uri_override": override})
    assert (await sent(cloud, url=url)).target == expected


async def test_a_url_without_parts(
    cloud: Cloud, caplog: pytest.LogCaptureFixture
) -> None:
    """It is the client's mistake: the log has the reason, and no traceback."""
    await make(cloud, retry_config={"max_attempts": 1})
    task = {"http_request": {"url": "http://[::1"}}
    await cloud.v2.create_task(parent=MADE, task=task)
    await until(lambda: cloud.runner.finished)
    assert "Invalid IPv6 URL" in caplog.text
    assert not any(record.exc_info for record in caplog.records)


async def test_method_headers_and_token(cloud: Cloud) -> None:
    """Those of the queue replace those of the task; a GET has no body."""
    target = {
        "http_method": "GET",
        "header_overrides": [{"header": {"key": "x-own", "value": "of the queue"}}],
        "oidc_token": {"service_account_email": "a@b", "audience": "c"},
    }
    await make(cloud, http_target=target)
    headers = {"X-Own": "of the task", "Other": "stays"}
    request = await sent(cloud, url="http://localhost:1/", body=b"x", headers=headers)
    assert (request.method, request.body) == ("GET", b"")
    assert request.headers["x-own"] == "of the queue"
    assert request.headers["other"] == "stays"
    assert request.headers["authorization"].startswith("Bearer ")
    assert [n.lower() for n, _ in request.header_list].count("x-own") == 1


@pytest.mark.parametrize("version", ["v2", "v2beta3"])
async def test_an_update_holds_for_tasks_that_wait(cloud: Cloud, version: str) -> None:
    """Also in the version of Google's samples, which name the field in the mask."""
    client = getattr(cloud, version)
    target = {"uri_override": {"host": "a.localhost", "uri_override_enforce_mode": 2}}
    made = await client.create_queue(
        parent=MADE.rpartition("/queues/")[0],
        queue={"name": MADE, "http_target": target},
    )
    assert made.http_target.uri_override.host == "a.localhost"
    task = {"http_request": {"url": "http://x/"}, "schedule_time": cloud.at(60)}
    await cloud.v2.create_task(parent=MADE, task=task)
    made.http_target.uri_override.host = "b.localhost"
    made.http_target.uri_override.port = 8080
    mask = field_mask_pb2.FieldMask(paths=["http_target", "rate_limits"])
    assert await client.update_queue(queue=made, update_mask=mask) == made
    await cloud.runner.advance(60)
    assert cloud.app.executions[0].target == "http://b.localhost:8080/"


async def test_an_update_clears_what_it_leaves_out(cloud: Cloud) -> None:
    """Also the parts of a message that it leaves out; a list is replaced."""
    names = ("X-A", "X-B")
    first, second = ([{"header": {"key": name, "value": "1"}}] for name in names)
    token = {"service_account_email": "a@b", "audience": "c"}
    target = {"uri_override": EVERY, "header_overrides": first, "oidc_token": token}
    await make(cloud, http_target=target, retry_config={"max_attempts": 7})
    changed = await update(
        cloud,
        MADE,
        "http_target.uri_override",
        "http_target.header_overrides",
        "retry_config.max_attempts",
        http_target={"header_overrides": second},
    )
    assert changed.http_target == tasks_v2.HttpTarget(
        header_overrides=second, oidc_token=token
    )
    assert changed.retry_config.max_attempts == 100
    token_fields = (f"http_target.oidc_token.{field}" for field in token)
    changed = await update(cloud, MADE, "http_target.header_overrides", *token_fields)
    assert "http_target" not in changed


async def test_tasks_for_the_app_stay_as_they_are(cloud: Cloud) -> None:
    """The target of the queue is for tasks with an HTTP target."""
    await make(cloud, http_target={"uri_override": EVERY, "http_method": "PUT"})
    await cloud.create("a", MADE)
    await until(lambda: cloud.runner.finished)
    (request,) = cloud.app.executions
    assert (request.method, request.target) == ("POST", "/work")


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ({"uri_override": {"host": ""}}, code_pb2.INVALID_ARGUMENT),
        ({"uri_override": {"port": -1}}, code_pb2.INVALID_ARGUMENT),
        ({"uri_override": {"port": 65536}}, code_pb2.INVALID_ARGUMENT),
        (
            {"header_overrides": [{"header": {"key": "a b"}}]},
            code_pb2.INVALID_ARGUMENT,
        ),
        (
            {"oidc_token": {"service_account_email": "a@b"}},
            code_pb2.INVALID_ARGUMENT,
        ),
        ({"oauth_token": {"scope": "x"}}, code_pb2.UNIMPLEMENTED),
    ],
)
async def test_targets_that_are_refused(
    cloud: Cloud, target: dict[str, Any], code: int
) -> None:
    """The queue is not created."""
    before = await queues(cloud)
    assert await code_of(make(cloud, http_target=tasks_v2.HttpTarget(target))) == code
    assert await queues(cloud) == before
