"""Use Cloud Tasks on a server, and print figures.

    python tasks_client.py HOST:PORT PROJECT SECONDS

Prints a JSON object: what was done -> how many tasks a second. A client is a process,
so that no two share an interpreter.
"""

import datetime
import json
import sys
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier

import grpc
from google.cloud import tasks_v2
from google.cloud.tasks_v2.services.cloud_tasks.transports import (
    CloudTasksGrpcTransport,
)

CLIENTS = (1, 8)
BATCH = 100


def create(client: tasks_v2.CloudTasksClient, queue: str, task: tasks_v2.Task) -> int:
    """Add a task."""
    client.create_task(parent=queue, task=task)
    return 1


def batch(client: tasks_v2.CloudTasksClient, queue: str, task: tasks_v2.Task) -> int:
    """Add tasks in one call."""
    request = tasks_v2.CreateTaskRequest(parent=queue, task=task)
    client.batch_create_tasks({"parent": queue, "requests": [request] * BATCH})
    return BATCH


Operation = Callable[[tasks_v2.CloudTasksClient, str, tasks_v2.Task], int]
OPERATIONS: dict[str, Operation] = {"CreateTask": create, "BatchCreateTasks": batch}


def work(
    host: str, queue: str, seconds: float, name: str, together: Barrier
) -> tuple[int, float]:
    """Repeat an operation; return how many tasks it added, and how long it took."""
    transport = CloudTasksGrpcTransport(channel=grpc.insecure_channel(host))
    client = tasks_v2.CloudTasksClient(transport=transport)
    # none runs meanwhile
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
    target = {"relative_uri": "/custom/path", "body": b"x" * 200}
    task = tasks_v2.Task(schedule_time=later, app_engine_http_request=target)
    operation = OPERATIONS[name]
    operation(client, queue, task)
    together.wait()
    began, added = time.perf_counter(), 0
    while time.perf_counter() < began + seconds:
        added += operation(client, queue, task)
    return added, time.perf_counter() - began


def main(host: str, project: str, seconds: float) -> dict[str, float]:
    """Measure everything."""
    queue = f"projects/{project}/locations/us-central1/queues/default"
    context = get_context("spawn")  # gRPC does not survive a fork
    figures = {}
    for name in OPERATIONS:
        for clients in CLIENTS:
            with context.Manager() as manager, context.Pool(clients) as pool:
                shared = (host, queue, seconds, name, manager.Barrier(clients))
                results = pool.starmap(work, [shared] * clients, chunksize=1)
            figures[f"{name}, {clients} at once"] = sum(
                added / took for added, took in results
            )
    return figures


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], float(sys.argv[3]))))
