"""Calls of every service end alike on both servers; what none can do is refused."""

import fnmatch
import json
import pathlib

import pytest

from tests.conftest import start
from tests.servers.differences import DEV_APPSERVER
from tests.servers.staging import stage
from tools import cloud_sdk

STAGED = pathlib.Path(__file__).with_name("staged")

Outcomes = dict[str, dict[str, str]]
"""Case -> its outcome, and the text of its error."""


def run_cases(name: str, work: pathlib.Path) -> Outcomes:
    """Run every case on a server."""
    app = stage("plain_wsgi", work, staged=STAGED, main="probe_main")
    server = start(name, "bundled", app, work)
    try:
        groups = json.loads(server.get("/probe/cases").body)
        return {
            f"{group}: {case}": json.loads(
                server.post("/probe/call", json.dumps([group, case]).encode()).body
            )
            for group, cases in groups.items()
            for case in cases
        }
    finally:
        server.stop()


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """The outcomes on the embedded server."""
    return run_cases("embedded", tmp_path_factory.mktemp("embedded"))


def test_no_call_fails_inside_the_server(embedded: Outcomes) -> None:
    """No case meets a fault of a stub."""
    faults = [case for case, got in embedded.items() if "failed inside" in got["text"]]

    assert faults == []


def test_what_neither_server_does_is_refused(embedded: Outcomes) -> None:
    """The error names the service, the method and the dev server."""
    refused = {
        case.partition(": ")[2]: got["text"]
        for case, got in embedded.items()
        if case.startswith("refused")
    }

    assert refused
    for call, text in refused.items():
        assert call in text
        assert "dev server" in text


def test_both_servers_do_the_same(embedded: Outcomes, tmp_path: pathlib.Path) -> None:
    """Only the cases that a row of docs/differences.md covers end differently."""
    cloud_sdk.need_dev_appserver(pytest.skip)
    google = run_cases("dev_appserver", tmp_path)
    patterns = [p for entry in DEV_APPSERVER.values() for p in entry.probe]

    differ = [
        case
        for case, got in embedded.items()
        if got["outcome"] != google[case]["outcome"]
    ]

    unexpected = [
        f"{case}: {embedded[case]} here, {google[case]} there"
        for case in differ
        if not any(fnmatch.fnmatch(case, pattern) for pattern in patterns)
    ]
    assert not unexpected, "\n".join(unexpected)
    for pattern in patterns:
        assert fnmatch.filter(differ, pattern), pattern
