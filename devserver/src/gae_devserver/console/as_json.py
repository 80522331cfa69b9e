"""How the State API shows queues, tasks and cron jobs in JSON."""

import base64
import dataclasses
from typing import Any

from gae_devserver.clock import Clock
from gae_devserver.cloud_tasks.tasks import method_of
from gae_devserver.cron.jobs import CronJobs, Job
from gae_devserver.tasks.execution import Run
from gae_devserver.tasks.function_names import function_name
from gae_devserver.tasks.queues import Queue


def describe_queue(queue: Queue, clock: Clock, shown: int) -> dict[str, Any]:
    """Return a queue with its first tasks, `shown` at most."""
    return {
        "name": queue.queue_name,
        "mode": queue.config.mode,
        "rate": queue.config.rate,
        "bucket_size": queue.config.bucket_size,
        "max_concurrent_requests": queue.config.max_concurrent_requests,
        "paused": bool(queue.paused),
        "executed_last_hour": queue.finished_since(clock.now() - 3600),
        "task_count": queue.Count(),
        "tasks": [
            describe_task(queue, task, clock) for task in queue.tasks_by_eta(shown)
        ],
    }


def describe_task(queue: Queue, task: Any, clock: Clock) -> dict[str, Any]:
    """Return a task without its headers and payload; `eta` is in the app's time."""
    name = task.task_name.decode()
    due = task.eta_usec / 1e6
    return {
        "name": name,
        "method": method_of(task),
        "url": _text(task.url),
        "eta": due - clock.offset,
        "due_in": due - clock.now(),
        "retry_count": task.retry_count,
        "execution_count": task.execution_count,
        "function": function_name(task.body),
        "size": len(task.body),
        "running": name in queue.running,
        "service": queue.service_of(task),
    }


def describe_contents(task: Any) -> dict[str, Any]:
    """Return the headers and the payload of a task."""
    return {
        "headers": [[_text(h.key), _text(h.value)] for h in task.header],
        "payload": base64.b64encode(task.body).decode(),
    }


def describe_run(run: Run, clock: Clock) -> dict[str, Any]:
    """Return a task as it was sent, with its queue and the status of the answer."""
    return {
        "queue": run.queue.queue_name,
        **describe_task(run.queue, run.task, clock),
        **describe_contents(run.task),
        "service": run.service,
        "status": run.status,
    }


def describe_job(cron: CronJobs, job: Job, clock: Clock) -> dict[str, Any]:
    """Return a job of cron.yaml; `eta` is in the app's time."""
    config, due, last = job.config, cron.next_run(job), job.last_run
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
        "running": cron.is_running(job),
        "last_run": None if last is None else dataclasses.asdict(last),
    }


def _text(data: bytes) -> str:
    return data.decode(errors="replace")
