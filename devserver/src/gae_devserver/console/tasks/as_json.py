"""How the State API shows queues, tasks and cron jobs in JSON."""

import base64
import dataclasses
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from gae_devserver.clock import Clock
from gae_devserver.cloud_tasks.tasks import method_of
from gae_devserver.console.tasks.calls import Calls
from gae_devserver.cron.jobs import CronJobs, Job
from gae_devserver.tasks.execution import Run
from gae_devserver.tasks.function_names import function_name
from gae_devserver.tasks.queues import Queue

_NEXT_RUNS = 3


def describe_queue(
    queue: Queue, clock: Clock, tasks: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Return a queue with its first tasks, as `describe_task` returns them."""
    return {
        "name": queue.queue_name,
        "mode": queue.config.mode,
        "rate": queue.config.rate,
        "bucket_size": queue.config.bucket_size,
        "max_concurrent_requests": queue.config.max_concurrent_requests,
        "paused": bool(queue.paused),
        "executed_last_hour": queue.finished_since(clock.now() - 3600),
        "dropped": queue.dropped,
        "running": len(queue.running),
        "task_count": queue.Count(),
        "tasks": tasks,
    }


def describe_task(queue: Queue, task: Any, clock: Clock) -> dict[str, Any]:
    """Return a task without its headers and payload; `eta` is in the app's time."""
    name = task.task_name.decode()
    due = task.eta_usec / 1e6
    return {
        "name": name,
        "method": method_of(task),
        "url": text_of(task.url),
        "eta": due - clock.offset,
        "due_in": due - clock.now(),
        "retry_count": task.retry_count,
        "execution_count": task.execution_count,
        "function": function_name(task.body),
        "size": len(task.body),
        "running": name in queue.running,
        "service": queue.service_of(task),
    }


def describe_contents(task: Any, calls: Calls) -> dict[str, Any]:
    """Return the headers, the payload and the call of a task."""
    return {
        "headers": headers_of(task),
        "payload": base64.b64encode(task.body).decode(),
        **calls.describe(task),
    }


def describe_run(run: Run, clock: Clock, calls: Calls) -> dict[str, Any]:
    """Return a task as it was sent, with its queue and the status of the answer."""
    return {
        "queue": run.queue.queue_name,
        **describe_task(run.queue, run.task, clock),
        **describe_contents(run.task, calls),
        "service": run.service,
        "status": run.status,
    }


def describe_job(cron: CronJobs, job: Job, clock: Clock) -> dict[str, Any]:
    """Return a job of cron.yaml; `eta` is in the app's time."""
    config, last = job.config, job.last_run
    runs = cron.next_runs(job, _NEXT_RUNS)
    due = runs[0] if runs else None
    zone = config.schedule.zone
    local = [datetime.fromtimestamp(run, zone) for run in runs]
    return {
        "url": config.url,
        "schedule": config.schedule_text,
        "description": config.description,
        "timezone": config.timezone,
        "target": config.target,
        "service": cron.service(job),
        "next_run": due,
        "eta": None if due is None else due - clock.offset,
        "due_in": None if due is None else due - clock.now(),
        "next_runs": [
            {"at": run, "local": f"{there:%a %Y-%m-%d %H:%M:%S}"}
            for run, there in zip(runs, local, strict=True)
        ],
        "running": cron.is_running(job),
        "last_run": None if last is None else dataclasses.asdict(last),
    }


def headers_of(task: Any) -> list[list[str]]:
    """Return the headers of a task, each with its value."""
    return [[text_of(h.key), text_of(h.value)] for h in task.header]


def text_of(data: bytes) -> str:
    """Return the text of a URL or a header."""
    return data.decode(errors="replace")
