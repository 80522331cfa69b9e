"""The app as the contract sees it: cases to call, and runs of tasks to look at."""

import json
import pathlib
import re
from dataclasses import dataclass
from typing import Any

from gae_devserver.testing import wait_until

from tests.servers.base import Server

LOADED = b"ccontract_tasks\nnote\n(Vloaded\ntR."
"""A pickle that calls contract_tasks.note("loaded") as soon as it is loaded."""


@dataclass(frozen=True)
class Run:
    """One run of a task, as the task itself recorded it.

    `headers` are App Engine's, in lower case and without X-AppEngine-; `own` are the
    others.
    """

    label: str
    time: float
    path: str
    method: str
    content_type: str
    headers: dict[str, str]
    own: dict[str, str]
    extra: dict[str, Any]


class CaseError(Exception):
    """A case raised; `kind` is the name of its exception's class."""

    def __init__(self, kind: str, text: str) -> None:
        """Show both in the error."""
        super().__init__(f"{kind}: {text}")
        self.kind = kind


class ContractApp:
    """A staged app on a server."""

    def __init__(self, server: Server, work: pathlib.Path) -> None:
        """Take the server and the folder that the app writes its runs to."""
        self.server = server
        self._runs = work / "runs.jsonl"
        self._logged = 0

    def reset(self) -> None:
        """Reset the server, and forget the runs."""
        self.server.reset()
        self._runs.write_bytes(b"")
        self._logged = len(self.server.log())

    def call(self, case: str, *args: Any, **options: Any) -> Any:
        """Run a case of contract_cases in a request; return its result."""
        body = json.dumps({"case": case, "args": args, "options": options})
        answer = self.server.post("/contract/call", body.encode())
        assert answer.status == 200, f"{case}: {answer.status} {answer.text[:500]}"
        content = json.loads(answer.body)
        if "error" in content:
            raise CaseError(content["error"], content["text"])
        return content["result"]

    def defer(self, function: str, *args: Any, **options: Any) -> str:
        """Defer a function of contract_tasks; return the task's name."""
        return str(self.call("defer", function, *args, **options))

    def runs(self, label: str | None = None) -> list[Run]:
        """Return the runs so far, in order, or only those with this label."""
        # A task may be writing, so the text after the last line end is not a line yet:
        # even of one write(), Linux shows what lies before a page's end first.
        *lines, _ = self._runs.read_bytes().split(b"\n")
        found = [Run(**json.loads(line)) for line in lines]
        return [run for run in found if label in (None, run.label)]

    def wait_for_log(self, pattern: str) -> str:
        """Return the part of the log that matches, once there is one.

        Only lines of this test count. A line may come after its request's answer.
        """

        def look() -> str | None:
            found = re.search(pattern, self.server.log()[self._logged :])
            return found[0] if found else None

        return wait_until(look, f"{pattern!r} in the log") or ""

    def count(self) -> int:
        """Return what /counter/get shows."""
        return int(self.server.get("/counter/get").text)
