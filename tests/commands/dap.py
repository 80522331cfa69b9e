"""A client of the Debug Adapter Protocol: it does what VS Code does."""

import contextlib
import json
import pathlib
import queue
import subprocess
import threading
from collections.abc import Iterator, Mapping
from typing import IO, Any

SECONDS = 60.0
"""How long an answer or an event may take on a loaded machine."""


class Session:
    """A debug session: it begins when the app connects, and ends with its process."""

    def __init__(self, sent: IO[bytes], received: IO[bytes]) -> None:
        """Speak through the two streams of an adapter."""
        self._sent, self._received = sent, received
        self._messages: queue.Queue[dict[str, Any]] = queue.Queue()
        self._unread: list[dict[str, Any]] = []
        self._sequence = self._attaching = 0
        threading.Thread(target=self._read, daemon=True).start()

    def listen(self, configuration: dict[str, Any]) -> None:
        """Listen for the app, as the configuration of launch.json says."""
        self.ask("initialize", adapterID="debugpy", pathFormat="path")
        self._attaching = self._send("attach", configuration)
        self.event("debugpyWaitingForServer")

    def accept(self, breakpoints: Mapping[pathlib.Path, int]) -> None:
        """Wait until the app connects, and set a breakpoint in a line of each file."""
        self.event("initialized")
        for file, line in breakpoints.items():
            lines = [{"line": line}]
            self.ask("setBreakpoints", source={"path": str(file)}, breakpoints=lines)
        self.ask("configurationDone")
        self._wait("request_seq", self._attaching)

    def stop(self) -> tuple[str, dict[str, str]]:
        """Wait until the app stops, then let it go on.

        Return the name of its function, and the variables.
        """
        thread = self.event("stopped")["threadId"]
        frame, *_ = self.ask("stackTrace", threadId=thread)["stackFrames"]
        scope, *_ = self.ask("scopes", frameId=frame["id"])["scopes"]
        reference = scope["variablesReference"]
        variables = self.ask("variables", variablesReference=reference)["variables"]
        self.ask("continue", threadId=thread)
        return frame["name"], {each["name"]: each["value"] for each in variables}

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Send a request, and return its answer."""
        return self._wait("request_seq", self._send(command, arguments))

    def event(self, name: str) -> dict[str, Any]:
        """Wait for an event."""
        return self._wait("event", name)

    def _send(self, command: str, arguments: dict[str, Any]) -> int:
        self._sequence += 1
        message = {"type": "request", "seq": self._sequence, "command": command}
        body = json.dumps(message | {"arguments": arguments}).encode()
        self._sent.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self._sent.flush()
        return self._sequence

    def _wait(self, key: str, value: object) -> dict[str, Any]:
        """Return the body of a message; keep others that come before it."""
        while True:
            for message in self._unread:
                if message.get(key) == value:
                    self._unread.remove(message)
                    assert message.get("success", True), message
                    return dict(message.get("body") or {})
            self._unread.append(self._messages.get(timeout=SECONDS))

    def _read(self) -> None:
        while head := self._received.readline():
            self._received.readline()
            body = self._received.read(int(head.removeprefix(b"Content-Length: ")))
            self._messages.put(json.loads(body))


@contextlib.contextmanager
def debugging(app: pathlib.Path) -> Iterator[Session]:
    """Start the adapter of debugpy in .venv, as VS Code does for each session."""
    pipe = subprocess.PIPE
    command = (app / ".venv" / "bin" / "python", "-m", "debugpy.adapter")
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as adapter:
        try:
            assert adapter.stdin is not None
            assert adapter.stdout is not None
            yield Session(adapter.stdin, adapter.stdout)
        finally:
            adapter.kill()
