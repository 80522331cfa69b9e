"""`nox -s audit`: pip-audit on the lock, with a service and without one.

The services here speak the protocol of osv.dev, which pip-audit can use at any address.
"""

import json
import os
import pathlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.commands.running import Run, nox
from tests.servers.staging import REPOSITORY

LOCK = (REPOSITORY / "requirements-lock.txt").read_text()
LOCKED = set(re.findall(r"^(\S+)==(\S+)", LOCK, re.MULTILINE))
CANARY = ("django", "1.8")


class Service:
    """A service that knows one vulnerability of each release that it is told."""

    def __init__(self) -> None:
        """Serve on a free port."""
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                answer = json.dumps(service.answer(json.loads(body))).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self.known: set[tuple[str, str]] = set()
        self.asked: set[tuple[str, str]] = set()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1/query"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def answer(self, query: dict[str, dict[str, str]]) -> dict[str, object]:
        """Return what is known of the release that a query names."""
        name = query["package"]["name"]
        release = (name, str(query["version"]))
        self.asked.add(release)
        if release not in self.known:
            return {}
        package = {"name": name, "ecosystem": "PyPI"}
        flaw = {
            "id": f"TEST-{name}",
            "summary": "x",
            "affected": [{"package": package}],
        }
        return {"vulns": [flaw]}

    def stop(self) -> None:
        """End it."""
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def service() -> Iterator[Service]:
    """A service that knows nothing yet."""
    service = Service()
    yield service
    service.stop()


def audit(url: str, home: pathlib.Path, certificates: str = "") -> Run:
    """Run the session with a service at an address."""
    return nox(
        *("-s", "audit"),
        PIP_AUDIT_VULNERABILITY_SERVICE="osv",
        PIP_AUDIT_OSV_URL=url,
        NO_PROXY="127.0.0.1",
        HOME=str(home),  # pip-audit tidies up there
        PIP_CERT=certificates or os.environ.get("PIP_CERT", ""),
    )


def why_not_audited(audited: Run) -> str:
    """Return the reason for which nothing was audited."""
    (line,) = (x for x in audited.stderr.splitlines() if "skipped" in x)
    assert audited.returncode == 0
    assert audited.stdout == ""
    assert "No known vulnerabilities" not in audited.stderr
    assert "Traceback" not in audited.stderr
    before, _, reason = line.partition("not audited: ")
    assert before.endswith("Session audit skipped: ")
    return reason


def test_no_service(tmp_path: pathlib.Path) -> None:
    """Where no service answers, one line says that nothing was audited, and why."""
    nowhere = "http://127.0.0.1:9/v1/query"  # the discard port; nothing answers

    reason = why_not_audited(audit(nowhere, tmp_path))

    assert "Connection refused" in reason


def test_certificates_of_pip(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What pip is told to trust is what the service has to be certified by."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    nowhere = "https://127.0.0.1:9/v1/query"
    file = tmp_path / "none.pem"

    reason = why_not_audited(audit(nowhere, tmp_path, str(file)))

    assert str(file) in reason


def test_no_network(tmp_path: pathlib.Path) -> None:
    """The same with the service that is asked if no other is named."""
    nowhere = "http://127.0.0.1:9"

    audited = nox("-s", "audit", HTTPS_PROXY=nowhere, NO_PROXY="", HOME=str(tmp_path))

    assert "Cannot connect to proxy" in why_not_audited(audited)


def test_service_without_data(service: Service, tmp_path: pathlib.Path) -> None:
    """A service that knows nothing even of an old Django is not believed."""
    reason = why_not_audited(audit(service.url, tmp_path))

    assert "django==1.8" in reason
    assert service.asked == {CANARY}


def test_nothing_is_found(service: Service, tmp_path: pathlib.Path) -> None:
    """A service with data is asked for each package, also those of other systems."""
    service.known = {CANARY}

    audited = audit(service.url, tmp_path)

    assert audited.returncode == 0, audited.stderr
    assert "No known vulnerabilities found" in audited.stdout
    assert "not audited" not in audited.stderr
    assert service.asked == {CANARY} | LOCKED
    assert "colorama" in dict(LOCKED)  # only for Windows


def test_vulnerabilities_fail_the_session(
    service: Service, tmp_path: pathlib.Path
) -> None:
    """The table of pip-audit names the release and what is wrong with it."""
    version = dict(LOCKED)["colorama"]
    service.known = {CANARY, ("colorama", version)}

    audited = audit(service.url, tmp_path)

    assert audited.returncode == 1
    assert re.search(rf"(?m)^colorama +{version} +TEST-colorama", audited.stdout)
    assert "Found 1 known vulnerability in 1 package" in audited.stdout
    assert "TEST-django" not in audited.stdout
