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

from tests.commands.running import Run, nox, reason
from tests.servers.staging import REPOSITORY

LOCK = (REPOSITORY / "requirements-lock.txt").read_text()
LOCKED = set(re.findall(r"^(\S+)==(\S+)", LOCK, re.MULTILINE))
CANARY = ("django", "1.8")
NOWHERE = "127.0.0.1:9"  # nothing listens on the discard port


class Service(ThreadingHTTPServer):
    """A service that knows one vulnerability of each release in `known`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.known: set[tuple[str, str]] = set()
        self.asked: set[tuple[str, str]] = set()

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.server_port}/v1/query"


class Handler(BaseHTTPRequestHandler):
    """Answers what is known of a release."""

    server: Service

    def do_POST(self) -> None:
        """Answer a query."""
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name, version = query["package"]["name"], query["version"]
        self.server.asked.add((name, version))
        affected = [{"package": {"name": name, "ecosystem": "PyPI"}}]
        flaw = {"id": f"TEST-{name}", "summary": "x", "affected": affected}
        known = {"vulns": [flaw]} if (name, version) in self.server.known else {}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(known).encode())


@pytest.fixture
def service() -> Iterator[Service]:
    """A service that knows nothing yet."""
    with Service() as service:
        threading.Thread(target=service.serve_forever).start()
        yield service
        service.shutdown()


def audit(url: str, home: pathlib.Path, certificates: str = "") -> Run:
    """Run the session with a service at an address."""
    return nox(
        "-s",
        "audit",
        PIP_AUDIT_VULNERABILITY_SERVICE="osv",
        PIP_AUDIT_OSV_URL=url,
        NO_PROXY="127.0.0.1",
        HOME=str(home),  # pip-audit writes there
        PIP_CERT=certificates or os.environ.get("PIP_CERT", ""),
    )


def why_not_audited(audited: Run) -> str:
    """Return the reason for which nothing was audited."""
    before, told, why = reason(audited, "skipped").partition("not audited: ")
    assert told
    assert not before
    return why


def test_certificates_of_pip(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pip-audit trusts the certificates that pip is configured to trust."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "none.pem"

    audited = audit(f"https://{NOWHERE}/v1/query", tmp_path, str(file))

    assert str(file) in why_not_audited(audited)


def test_no_service(tmp_path: pathlib.Path) -> None:
    """If the service does not answer, one line says that nothing was audited."""
    proxy = f"http://{NOWHERE}"

    audited = nox("-s", "audit", HTTPS_PROXY=proxy, NO_PROXY="", HOME=str(tmp_path))

    assert "Cannot connect to proxy" in why_not_audited(audited)


def test_service_without_data(service: Service, tmp_path: pathlib.Path) -> None:
    """A service that knows no vulnerability of an old Django is not trusted."""
    audited = audit(service.url, tmp_path)

    assert "django==1.8" in why_not_audited(audited)
    assert service.asked == {CANARY}


def test_nothing_is_found(service: Service, tmp_path: pathlib.Path) -> None:
    """pip-audit asks for each package, also for those that other systems need."""
    service.known.add(CANARY)

    audited = audit(service.url, tmp_path)

    assert audited.returncode == 0, audited.stderr
    assert "No known vulnerabilities found" in audited.stdout
    assert "not audited" not in audited.stderr
    assert service.asked == {CANARY} | LOCKED
    assert "colorama" in dict(LOCKED)  # only for Windows


def test_vulnerabilities_fail_the_session(
    service: Service, tmp_path: pathlib.Path
) -> None:
    """The table of pip-audit names the release and the vulnerability."""
    version = dict(LOCKED)["colorama"]
    service.known.update({CANARY, ("colorama", version)})

    audited = audit(service.url, tmp_path)

    assert audited.returncode == 1
    assert re.search(rf"(?m)^colorama +{version} +TEST-colorama", audited.stdout)
    assert "Found 1 known vulnerability in 1 package" in audited.stdout
    assert "TEST-django" not in audited.stdout
