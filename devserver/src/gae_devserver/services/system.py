"""The stub of `system`: what the app uses, and its background threads."""

import os
import subprocess
from typing import Any

from google.appengine.api.system.system_stub import SystemServiceStub

from gae_devserver.app import processes
from gae_devserver.services.stubs import FindPid, StartThread

_MEGACYCLES_PER_SECOND = 600  # of an F1 instance


class System(SystemServiceStub):  # type: ignore[misc]
    """Measures the processes of the app with `ps`, where the SDK's stub says 0."""

    def __init__(
        self, start_thread: StartThread, find_pid: FindPid, request_data: Any
    ) -> None:
        super().__init__(request_data=request_data)
        self._start_thread = start_thread
        self._find_pid = find_pid

    def _Dynamic_StartBackgroundRequest(
        self, request: Any, response: Any, ticket: str
    ) -> None:
        response.request_id = self._start_thread(ticket)

    def _Dynamic_GetSystemStats(
        self, request: Any, response: Any, request_id: str
    ) -> None:
        command = ["ps", "-A", "-o", "pid=,ppid=,rss=,time=,etime="]
        try:
            printed = subprocess.run(
                command, capture_output=True, text=True, check=True
            )
        except FileNotFoundError:
            why = "the program ps is not installed; on Debian, it is in procps"
            raise NotImplementedError(why) from None
        rows = [line.split() for line in printed.stdout.splitlines()]
        parents = {int(row[0]): int(row[1]) for row in rows}
        app = processes.below(self._find_pid(request_id) or os.getpid(), parents)
        used = [row[2:] for row in rows if int(row[0]) in app]
        megabytes = sum(int(kibibytes) for kibibytes, _, _ in used) / 1024
        cpu = sum(_seconds(time) for _, time, _ in used) * _MEGACYCLES_PER_SECOND
        age = max((_seconds(elapsed) for _, _, elapsed in used), default=0)
        memory = response.memory
        memory.current = memory.average1m = memory.average10m = megabytes
        response.cpu.total = cpu
        response.cpu.rate1m = response.cpu.rate10m = cpu / max(age, 1)


def _seconds(text: str) -> float:
    """Return a duration of ps, such as 1-02:03:04 or 5:06.78, in seconds."""
    days, _, rest = text.rpartition("-")
    seconds = 0.0
    for part in rest.split(":"):
        seconds = seconds * 60 + float(part)
    return seconds + 86400 * int(days or 0)
