"""Clients of Cloud Tasks in an app reach the dev server, and nothing else."""

import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from gae_devserver.environments import interpreters
from gae_devserver.testing import DevServer
from tests.helpers.app_folder import RUNTIME, copy_app
from tests.helpers.caches import own_cache
from tests.helpers.command import COMMAND, OWN_PYTHON, PATIENCE

SDK = "appengine-python-standard"
GUNICORN = "gunicorn --threads 4 -w 2 main:app"
PRELOAD = f"{GUNICORN} --preload"
ENVIRONMENTS: dict[str, tuple[str | None, str | None, str]] = {
    # the app's Python and its packages, or those of the tests, and the entrypoint
    "own": (None, None, GUNICORN),
    "preload": (None, None, f"env CALL_ON_IMPORT=1 {PRELOAD}"),
    "3.13": ("3.13", "google-cloud-tasks", GUNICORN),
    "3.12": ("3.12", f"{SDK} google-cloud-tasks==2.19.3", PRELOAD),
    "3.10": ("3.10", "google-cloud-tasks==2.16.5", PRELOAD),
    "3.8": ("3.8", "google-cloud-tasks==1.5.0 setuptools<70", GUNICORN),
}
SITECUSTOMIZE = "import os; os.environ['OWN_SITECUSTOMIZE'] = 'ran'"
SINCE_2_0 = ("asyncio", "channel", "channel_maker", "options", "rest", "rest_with_key")
EVER = ("credentials", "early", "key_file", "late", "threads", "v2beta3")


class Proxy:
    """Counts the connections of programs that use it to reach other machines."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = "http://127.0.0.1:{1}".format(*self._listener.getsockname())
        self.requests: list[bytes] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(PATIENCE)
                self.requests.append(connection.recv(1000))

    def close(self) -> None:
        """Stop."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    """The proxy of all apps."""
    proxy = Proxy()
    yield proxy
    proxy.close()


def write_credentials(home: Path) -> Path:
    """Write a key of a service account, and credentials of gcloud; return the key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = home / "key.json"
    content = {
        "type": "service_account",
        "project_id": "real-project",
        "private_key_id": "1",
        "private_key": pem.decode(),
        "client_email": "a@real-project.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": "https://oauth2.googleapis.com/token",
    }
    path.write_text(json.dumps(content))
    adc = home / ".config/gcloud/application_default_credentials.json"
    adc.parent.mkdir(parents=True)
    user = {"client_id": "a", "client_secret": "b", "refresh_token": "c"}
    adc.write_text(json.dumps({"type": "authorized_user", **user}))
    return path


def make_app(folder: Path, name: str, proxy: Proxy) -> Path:
    """Make the app with credentials that work nowhere, and the proxy."""
    version, listed, entrypoint = ENVIRONMENTS[name]
    runtime = RUNTIME
    if version:
        runtime = f"python{version.replace('.', '')}"
        if interpreters.find(tuple(map(int, version.split(".")))) is None:  # type: ignore[arg-type]
            pytest.skip(f"this machine has no Python {version}")
    app = copy_app("shapes", folder)
    (app / "on_cloud_tasks.py").rename(app / "main.py")
    (app / "lib").mkdir()
    (app / "lib/sitecustomize.py").write_text(SITECUSTOMIZE)
    if listed:
        lines = [*listed.split(), "gunicorn"]
        (app / "requirements.txt").write_text("\n".join(lines))
    variables = {
        "APPENGINE_USE_CLOUDTASK_PUSH_QUEUE": "true",
        "GOOGLE_APPLICATION_CREDENTIALS": str(write_credentials(folder)),
        "HOME": str(folder),
        "PYTHONPATH": "lib",
        "no_grpc_proxy": "a.test",
        **dict.fromkeys(("grpc_proxy", "https_proxy", "HTTPS_PROXY"), proxy.url),
    }
    lines = [
        f"runtime: {runtime}",
        "app_engine_apis: true",
        f"entrypoint: {entrypoint}",
        f"env_variables: {json.dumps(variables)}",
    ]
    (app / "app.yaml").write_text("\n".join(lines))
    return app


@pytest.fixture(scope="module", params=ENVIRONMENTS)
def server(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    proxy: Proxy,
) -> Iterator[DevServer]:
    """The dev server with the app in one environment."""
    folder = tmp_path_factory.mktemp("app")
    app = make_app(folder, request.param, proxy)
    options = [OWN_PYTHON] if ENVIRONMENTS[request.param][1] is None else []
    with pytest.MonkeyPatch.context() as patch:
        for name, value in own_cache(folder / "cache").items():
            patch.setenv(name, value)
        with DevServer(app, *options, log_file=folder / "log") as server:
            yield server


def added_by(server: DevServer, path: str) -> list[str]:
    """Return the names of the tasks that the last request for a path has added."""
    listed = server.state("GET", f"/requests?path={path}&limit=1")["requests"]
    shown = server.state("GET", f"/requests/{listed[0]['number']}")
    return [task["name"] for task in shown["added_tasks"]]


@pytest.mark.parametrize("way", [*EVER, *SINCE_2_0, "sdk"])
def test_a_client(
    server: DevServer, proxy: Proxy, way: str, request: pytest.FixtureRequest
) -> None:
    """However a client is made, it creates tasks here; nothing goes to the proxy.

    The server knows in which request it did, unless the app's own threads called.
    """
    listed = ENVIRONMENTS[request.node.callspec.params["server"]][1]
    if way in SINCE_2_0 and listed and "==1." in listed:
        pytest.skip("this release does not have this")
    if way == "sdk" and listed and SDK not in listed:
        pytest.skip("this app has no SDK")
    if way == "sdk" and not listed and sys.version_info >= (3, 13):
        pytest.skip("SDK 3.1.0 finds no project: its threads have no os.environ")
    for _ in range(3):  # more than one worker
        text = server.get(f"/{way}").body.decode()
        assert re.fullmatch(r"projects/.*/tasks/\w+ ran", text), text
        if way != "threads":
            name = text.removesuffix(" ran").rpartition("/")[2]
            assert name in added_by(server, f"/{way}"), "it belongs to no request"
    assert not proxy.requests


def test_a_version_that_is_not_served(server: DevServer) -> None:
    """A client of v2beta2 reaches the dev server, which says so."""
    assert "google.cloud.tasks.v2beta2." in server.get("/v2beta2").body.decode()


def test_no_cloud_tasks(tmp_path: Path, proxy: Proxy) -> None:
    """With --no-cloud-tasks, a call of any transport fails at once, and says so."""
    app = make_app(tmp_path, "own", proxy)
    with DevServer(app, OWN_PYTHON, "--no-cloud-tasks") as server:
        for way in ("early", "rest", "asyncio", "sdk"):
            assert "--no-cloud-tasks" in server.get(f"/{way}").body.decode()
    assert not proxy.requests


def test_a_script(tmp_path: Path, proxy: Proxy) -> None:
    """`gae-devserver run` connects the clients of its script too."""
    app = make_app(tmp_path, "own", proxy)
    (app / "fill.py").write_text(
        "import main; print(main.WAYS['rest'](), main.by_sdk())"
    )
    command = [*COMMAND[:-1], "run", OWN_PYTHON, str(app), "fill.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.count("/tasks/") == 2, done.stderr
    assert not proxy.requests
