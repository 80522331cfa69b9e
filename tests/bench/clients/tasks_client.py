"""Create tasks through the client of Cloud Tasks; print how many, and the seconds.

    python tasks_client.py HOST QUEUE RPC SECONDS

HOST is CLOUD_TASKS_EMULATOR_HOST, QUEUE a queue's full name, and RPC one of CreateTask
and BatchCreateTasks. The client prints "ready" and waits for a line, so that several
can start at the same time. None of its tasks is due while the benchmark runs.
"""

import datetime
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import grpc
from google.cloud import tasks_v2
from google.cloud.tasks_v2.services.cloud_tasks import transports

BATCH = 100
WAIT = datetime.timedelta(days=1)


def creation(queue: str) -> dict[str, Any]:
    """Return a request for a task with a small body."""
    target = {"relative_uri": "/", "body": b"x" * 100}
    due = datetime.datetime.now(datetime.UTC) + WAIT
    return {
        "parent": queue,
        "task": {"app_engine_http_request": target, "schedule_time": due},
    }


def main(host: str, queue: str, rpc: str, seconds: float) -> tuple[int, float]:
    """Create tasks; return how many, and the seconds that this took."""
    transport = transports.CloudTasksGrpcTransport(channel=grpc.insecure_channel(host))
    client = tasks_v2.CloudTasksClient(transport=transport)
    call: Callable[..., object] = client.create_task
    request, size = creation(queue), 1
    if rpc == "BatchCreateTasks":
        call = client.batch_create_tasks
        request, size = {"parent": queue, "requests": [request] * BATCH}, BATCH
    call(request=request)  # connects
    print("ready", flush=True)
    input()
    began, done = time.perf_counter(), 0
    while time.perf_counter() < began + seconds:
        call(request=request)
        done += size
    return done, time.perf_counter() - began


if __name__ == "__main__":
    target, queue_name, name, duration = sys.argv[1:]
    print(json.dumps(main(target, queue_name, name, float(duration))))
