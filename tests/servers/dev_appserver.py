"""Start dev_appserver.py for a test, and drive its queues through its API port."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys
import time
from typing import Any

from gae_devserver.testing import Task, wait_until
from gae_devserver.testing.processes import descendants
from gae_devserver.testing.requests import send
from google.appengine.api import api_base_pb2
from google.appengine.api.taskqueue import taskqueue_service_bytes_pb2 as pb
from google.appengine.ext.remote_api import remote_api_bytes_pb2 as remote_api
from google.protobuf import wrappers_pb2

from tests.servers import base
from tests.servers.datastore_emulator import DatastoreEmulator
from tests.servers.leashed import Leashed
from tools.dev_appserver import START_TIME

SETTLE_TIME = 60.0
"""Seconds that the tasks that are due may take; it runs a hundred in a second."""

MARGIN_USEC = 100_000
"""A queue is quiet only when nothing in it becomes due within this time."""


class DevAppserver(base.Server):
    """dev_appserver.py with one app on it.

    Its scheduler uses only the real clock. So this class keeps the app's time, and
    `advance` goes from due time to due time and forces each task to run in its turn.
    """

    name = "dev_appserver"

    def __init__(
        self,
        app: pathlib.Path,
        work: pathlib.Path,
        emulator: DatastoreEmulator | None = None,
    ) -> None:
        """Start the server for the folder `app`; its log goes to `work`.

        The `emulator` is for Cloud NDB; `stop` stops it too.
        """
        self._emulator = emulator
        self._offset = 0.0
        # (queue, name, real ETA) -> due time on the app's clock
        self._due: dict[tuple[str, str, int], float] = {}
        # not in the app's folder: there, a change of the log would restart the app
        self._log_file = work / "dev_appserver.log"
        command = [sys.executable, "-m", "tools.dev_appserver", str(app), "--port=0"]
        variables = {"DATASTORE_EMULATOR_HOST": emulator.host} if emulator else {}
        self._leashed = Leashed(command, self._log_file, **variables)
        try:
            super().__init__(self._printed(r'"default" running at: (http://\S+)'))
            self._api = self._printed(r"Starting API server at: (http://\S+)")
            wait_until(self._answers, "the app answers", START_TIME)
            self._queues = self._find_queues()
        except BaseException:
            self.stop()
            raise

    @property
    def log_file(self) -> pathlib.Path:
        """The server's log."""
        return self._log_file

    @property
    def pid(self) -> int:
        """The process of dev_appserver.py itself, below the tool and the leashes."""
        listed = subprocess.run(
            ["ps", "-A", "-o", "pid=,args="], capture_output=True, text=True, check=True
        ).stdout
        own = descendants(self._leashed.pid)
        return min(
            int(pid)
            for pid, _, args in (x.strip().partition(" ") for x in listed.splitlines())
            if int(pid) in own and "/dev_appserver.py" in args and "leash" not in args
        )

    def _printed(self, pattern: str) -> str:
        """Return the first group of `pattern` once the log holds it."""

        def look() -> str | None:
            self._leashed.check()
            found = re.search(pattern, self.log())
            return found[1] if found else None

        what = f"{pattern} in {self._log_file}"
        return wait_until(look, what, START_TIME) or ""

    def _answers(self) -> bool:
        """Return whether the app answers; the first request starts its process."""
        self._leashed.check()
        try:
            return self.get("/counter/get").status == 200
        except OSError:
            return False

    def stop(self) -> None:
        """Stop all processes, the emulator's too."""
        self._leashed.stop()
        if self._emulator is not None:
            self._emulator.stop()

    def call(self, method: str, request: Any, response: Any) -> Any:
        """Call the task queue as the app would, and return `response`, filled in."""
        call = remote_api.Request()
        call.service_name = "taskqueue"
        call.method = method
        call.request = request.SerializeToString()
        answer = send(self._api, "POST", "/", body=call.SerializeToString())
        result = remote_api.Response()
        result.ParseFromString(answer.body)
        if result.HasField("application_error"):
            raise RuntimeError(f"{method}: {result.application_error}")
        response.ParseFromString(result.response)
        return response

    def _find_queues(self) -> list[str]:
        """Return the names of the queues that push."""
        request = pb.TaskQueueFetchQueuesRequest(max_rows=1000)
        response = pb.TaskQueueFetchQueuesResponse()
        return [
            queue.queue_name.decode()
            for queue in self.call("FetchQueues", request, response).queue
            if queue.mode == pb.TaskQueueMode.PUSH
        ]

    def _raw_tasks(self, queue: str) -> list[Any]:
        request = pb.TaskQueueQueryTasksRequest(
            queue_name=queue.encode(), max_rows=100_000
        )
        response = pb.TaskQueueQueryTasksResponse()
        return list(self.call("QueryTasks", request, response).task)

    def _oldest(self) -> dict[str, int]:
        """Return the first ETA (microseconds) of each queue in which a task waits."""
        request = pb.TaskQueueFetchQueueStatsRequest(
            queue_name=[queue.encode() for queue in self._queues]
        )
        response = pb.TaskQueueFetchQueueStatsResponse()
        stats = self.call("FetchQueueStats", request, response).queuestats
        return {
            queue: stat.oldest_eta_usec
            for queue, stat in zip(self._queues, stats, strict=True)
            if stat.num_tasks
        }

    def _now(self) -> float:
        return time.time() + self._offset

    def _schedule(self) -> dict[tuple[str, str, int], float]:
        """Note when new tasks and new attempts are due; return all that wait."""
        waiting = {
            (queue, task.task_name.decode(), task.eta_usec)
            for queue in self._oldest()
            for task in self._raw_tasks(queue)
        }
        self._due = {
            key: self._due.get(key, key[2] / 1e6 + self._offset) for key in waiting
        }
        return self._due

    def _settle(self) -> None:
        """Wait until every task that is really due has run."""

        def quiet() -> bool:
            soon = time.time() * 1e6 + MARGIN_USEC
            return all(eta > soon for eta in self._oldest().values())

        wait_until(quiet, "the queues are quiet", SETTLE_TIME)

    def tasks(self, queue: str = "default") -> list[Task]:
        """Return the tasks that wait in `queue`, the next one to run first."""
        tasks = self._raw_tasks(queue)
        due = self._schedule()
        now = self._now()
        found = [
            Task(
                queue=queue,
                name=(name := task.task_name.decode()),
                method=task.RequestMethod.Name(task.method),
                url=task.url.decode(),
                due_in=due.get((queue, name, task.eta_usec), task.eta_usec / 1e6) - now,
                retry_count=task.retry_count,
                headers={
                    header.key.decode().lower(): header.value.decode()
                    for header in task.header
                },
                payload=task.body,
            )
            for task in tasks
        ]
        return sorted(found, key=lambda task: task.due_in)

    def advance(self, seconds: float) -> None:
        """Let `seconds` of the app's time pass; return once all due by then has run."""
        target = self._now() + seconds
        while True:
            self._settle()
            due = self._schedule()
            key = min(due, key=lambda key: due[key], default=None)
            if key is None or due[key] > target:
                break
            self._offset = max(self._offset, due[key] - time.time())
            request = pb.TaskQueueForceRunRequest(
                queue_name=key[0].encode(), task_name=key[1].encode()
            )
            self.call("ForceRun", request, pb.TaskQueueForceRunResponse())
        self._offset = max(self._offset, target - time.time())

    def reset(self) -> None:
        """Drop entities, tasks, tombstones and memcache, and set the clock back.

        /clear cannot empty the queues: the scheduler would keep the old ones.
        """
        self._settle()
        for queue in self._queues:
            # its own message is not in the pip package; this one has the same form
            name = wrappers_pb2.StringValue(value=queue)
            self.call("FlushQueue", name, api_base_pb2.VoidProto())
        send(self._api, "GET", "/clear?stub=datastore_v3&stub=memcache")
        if self._emulator is not None:
            self._emulator.reset()
        self._offset = 0.0
        self._due = {}
