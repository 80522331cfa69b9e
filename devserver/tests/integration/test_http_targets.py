"""Tasks with an HTTP target, from CreateTask to the app that verifies the sender."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.cloud.tasks_v2 import CloudTasksClient
from google.cloud.tasks_v2.services.cloud_tasks.transports import (
    CloudTasksGrpcTransport,
)

from gae_devserver.testing import DevServer
from tests.helpers.app_folder import make_app
from tests.helpers.command import OWN_PYTHON

README = (Path(__file__).parents[2] / "README.md").read_text()
SECTION = README.partition("#### Verify the token\n")[2]
VERIFIES = SECTION.partition("```python\n")[2].partition("```")[0]

# the README's function, and a view that it guards
MAIN = f"""\
{VERIFIES}

def app(environ, start_response):
    try:
        email = sender(environ.get("HTTP_AUTHORIZATION", ""), "https://worker.test")
    except ValueError as error:
        start_response("403 Forbidden", [("Content-Type", "text/plain")])
        return [str(error).encode()]
    print("work for", email, environ["HTTP_X_CLOUDTASKS_TASKNAME"], flush=True)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return []
"""
PARENT = "projects/sample-project/locations/us-central1/queues/default"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    """A server whose app verifies tokens."""
    folder = make_app(tmp_path_factory.mktemp("work") / "app", MAIN)
    with DevServer(folder, OWN_PYTHON, "--http-target-host=0.0.0.0") as server:
        yield server


@pytest.fixture
def client(server: DevServer) -> Iterator[CloudTasksClient]:
    """A client of Cloud Tasks."""
    with grpc.insecure_channel(server.cloud_tasks_host) as channel:
        yield CloudTasksClient(transport=CloudTasksGrpcTransport(channel=channel))


def create(client: CloudTasksClient, name: str, **request: Any) -> None:
    """Create a task."""
    task: Any = {"name": f"{PARENT}/tasks/{name}", "http_request": request}
    client.create_task(parent=PARENT, task=task)


def test_the_app_verifies_the_sender(
    server: DevServer, client: CloudTasksClient
) -> None:
    """The code in the README accepts the token of a task, and no forged one."""
    email = "worker@sample-project.iam.gserviceaccount.com"
    token = {"service_account_email": email, "audience": "https://worker.test"}
    create(client, "a", url=f"{server.url}/work", body=b"x", oidc_token=token)
    run = server.run_next_task()
    assert run is not None
    assert (run.name, run.status) == ("a", 200)
    server.wait_for_log(f"work for {email} a$")
    forged = [("X-CloudTasks-TaskName", "a"), ("Authorization", "Bearer a.b.c")]
    assert server.post("/work", headers=forged).status == 403


def test_a_task_for_another_host(server: DevServer, client: CloudTasksClient) -> None:
    """Only a host that the option names gets it; here that is the app's own port.

    The log line of the other attempt names the host and the option.
    """
    create(client, "b", url="http://worker.example/")
    server.wait_for_log(r"task b .*failed .*--http-target-host worker\.example")
    create(client, "c", url=server.url.replace("127.0.0.1", "0.0.0.0"))
    server.wait_for_log("task c .*: 421 ")
    server.purge()
