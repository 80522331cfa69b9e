"""Three services of three frameworks: who gets which request and which task."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode, urlsplit

import grpc
import pytest
from google.cloud.tasks_v2 import CloudTasksClient
from google.cloud.tasks_v2.services.cloud_tasks.transports import (
    CloudTasksGrpcTransport,
)

from gae_devserver.testing import DevServer
from tests.helpers.command import OWN_PYTHON
from tests.helpers.several_services import (
    FRAMEWORKS,
    copy_services,
    decoded,
    services_of,
    who,
)

QUEUE = "projects/sample-project/locations/us-central1/queues/default"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    """The three services."""
    apps = copy_services(tmp_path_factory.mktemp("work"))
    with DevServer(apps, OWN_PYTHON) as server:
        yield server


@pytest.fixture
def server(running: DevServer) -> DevServer:
    """The three services, and nothing stored."""
    running.reset()
    return running


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_each_service_is_itself(server: DevServer, name: str) -> None:
    """It has its own framework, name and version; a test finds them by the name."""
    shown = who(server, name)
    assert shown["framework"] == FRAMEWORKS[name]
    assert shown["service"] == shown["module"] == name
    assert shown["version"] == server.service(name).version
    assert server.services == [*FRAMEWORKS]


# --- tasks ----------------------------------------------------------------------------


def defer(server: DevServer, sender: str, label: str, **options: str) -> str | None:
    """Let a service defer `record`; return the error that it gets."""
    query = urlencode({"label": label, **options})
    answer = server.service(sender).get(f"/defer?{query}")
    error: str | None = decoded(answer)
    return error


@pytest.mark.parametrize("receiver", FRAMEWORKS)
@pytest.mark.parametrize("sender", FRAMEWORKS)
def test_a_task_from_each_to_each(
    server: DevServer, sender: str, receiver: str
) -> None:
    """The service that `_target` names runs the task, also by its version's name."""
    label, version = f"{sender} {receiver}", server.service(receiver).version
    for target in (receiver, f"{version}.{receiver}"):
        assert defer(server, sender, label, _target=target) is None
    server.advance(0)
    assert services_of(server, label) == [receiver] * 2


@pytest.mark.parametrize(
    ("options", "receiver"),
    [
        ({}, "admin"),
        ({"_url": "/tasks/deferred"}, "admin"),
        ({"_queue": "heavy"}, "worker"),
        ({"_queue": "heavy", "_target": "default"}, "worker"),
    ],
)
def test_the_target_of_a_queue_or_the_sender(
    server: DevServer, options: dict[str, str], receiver: str
) -> None:
    """The `target` of queue.yaml wins; without a target, the sender gets the task.

    dispatch.yaml is not for such tasks.
    """
    server.pause(options.get("_queue", "default"))
    defer(server, "admin", "a", **options)
    (task,) = server.tasks(options.get("_queue", "default"))
    assert task.service == receiver


def test_a_target_that_is_not_there(server: DevServer) -> None:
    """The call fails, with the names of the services that run."""
    error = defer(server, "default", "lost", _target="nowhere")
    assert error is not None
    assert all(name in error for name in ("nowhere", *FRAMEWORKS))


@pytest.mark.parametrize(
    ("index", "label", "receiver"),
    [
        (0, "target", "admin"),
        (1, "target-first", "admin"),
        (2, "rule", "worker"),
        (3, "neither", "default"),
    ],
)
def test_a_cron_job(server: DevServer, index: int, label: str, receiver: str) -> None:
    """It runs on its target, otherwise as dispatch.yaml says, otherwise on default."""
    assert server.run_cron(index) == 200
    assert services_of(server, label) == [receiver]


@pytest.mark.parametrize(
    ("service", "path", "receiver"),
    [
        ("worker", "/admin/record", "worker"),
        ("", "/admin/record", "admin"),
    ],
)
def test_cloud_tasks(server: DevServer, service: str, path: str, receiver: str) -> None:
    """A task goes where its routing says, otherwise where dispatch.yaml does."""
    label = f"cloud{service}{path}"
    request: Any = {
        "relative_uri": f"{path}?{urlencode({'label': label})}",
        "app_engine_routing": {"service": service},
    }
    with grpc.insecure_channel(server.cloud_tasks_host) as channel:
        client = CloudTasksClient(transport=CloudTasksGrpcTransport(channel=channel))
        task: Any = {"app_engine_http_request": request}
        client.create_task(parent=QUEUE, task=task)
    server.advance(0)
    assert services_of(server, label) == [receiver]


# --- requests -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "path", "receiver"),
    [
        ("", "/", "default"),
        ("", "/admin/x", "admin"),
        ("", "/tasks-of-today/x?y", "worker"),
        ("jobs.localhost", "/admin/x", "worker"),
        ("worker.localhost", "/", "worker"),
        ("VERSION.worker.localhost", "/admin/x", "worker"),
    ],
)
def test_a_request_to_the_public_port(
    server: DevServer, host: str, path: str, receiver: str
) -> None:
    """The first rule of dispatch.yaml decides, else the name of the host, else default.

    No rule applies to the host of a version.
    """
    host = host.replace("VERSION", server.service("worker").version)
    port = urlsplit(server.url).port
    answer = server.get(path, {"Host": f"{host or 'localhost'}:{port}"})
    assert decoded(answer)["service"] == receiver


def test_a_rule_for_a_service_that_does_not_run(server: DevServer) -> None:
    """The answer names the rule and the services that run; the banner has all rules."""
    assert "*/elsewhere/* to elsewhere" in server.log_file.read_text()
    answer = server.get("/elsewhere/x")
    assert answer.status == 404
    facts = ("'elsewhere'", "dispatch.yaml, line 8", *FRAMEWORKS)
    assert all(fact in answer.text for fact in facts)


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_a_request_to_a_port_of_a_service(server: DevServer, name: str) -> None:
    """It skips dispatch.yaml."""
    assert decoded(server.service(name).get("/admin/x"))["service"] == name


# --- what the services share ----------------------------------------------------------


def test_what_one_service_stores_the_others_see(server: DevServer) -> None:
    """Memcache and users are those of the app."""
    ann = server.sign_in("ann@example.com")
    server.service("default").get("/share?key=a&value=b")
    for name in FRAMEWORKS:
        service = server.service(name)
        assert decoded(service.get("/share?key=a")) == "b"
        assert decoded(service.get("/", ann))["user"] == "ann@example.com"


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_the_modules_api(server: DevServer, name: str) -> None:
    """Each service learns of the others, and an address of each that works.

    The receiver of a fetch sees from which app it comes.
    """
    shown = decoded(server.get(f"/names?service={name}"))
    assert shown["modules"] == sorted(FRAMEWORKS)
    assert shown["versions"] == [server.service(name).version]
    assert shown["hostname"].endswith(f":{urlsplit(server.service(name).url).port}")
    fetched = decoded(server.get(f"/fetch?service={name}"))
    assert (fetched["service"], fetched["sender"]) == (name, "sample-project")
