"""Jobs of cron.yaml run in time order with the tasks, and can be run now."""

import asyncio
import dataclasses
import itertools
from pathlib import Path

import pytest

from gae_devserver.app.supervisor import AppUnavailable
from gae_devserver.config.cron_yaml import CronJob, load_cron_yaml
from gae_devserver.config.dispatch_yaml import DispatchRule
from gae_devserver.config.targets import Versions
from gae_devserver.cron.jobs import JobRefusedError
from tests.helpers.calls import application
from tests.helpers.waiting import until
from tests.unit.conftest import MakeBench

pytestmark = pytest.mark.asyncio


ONE_SERVICE: Versions = {"default": None}


def jobs(
    folder: Path, *entries: str, services: Versions = ONE_SERVICE
) -> tuple[CronJob, ...]:
    """Read jobs whose settings are written as {url: /a, schedule: ...}."""
    listed = "".join(f"- {{{entry}}}\n" for entry in entries)
    (folder / "cron.yaml").write_text(f"cron:\n{listed}")
    return load_cron_yaml(folder / "cron.yaml", services).jobs


async def test_an_advance_runs_jobs_and_tasks_in_time_order(
    make_bench: MakeBench, tmp_path: Path
) -> None:
    """An hourly job runs once in an hour, between the tasks before and after it."""
    hourly = jobs(tmp_path, "url: /hourly, schedule: every 1 hours")
    bench = make_bench(jobs=hourly)
    await bench.add("before", 3500)
    await bench.add("after", 3600.5)
    assert await bench.runner.advance(3600) == 2
    assert await bench.runner.advance(1) == 1
    targets = [(run.method, run.target) for run in bench.app.executions]
    task = ("POST", "/work")
    assert targets == [task, ("GET", "/hourly"), task]
    assert await bench.runner.advance(24 * 3600) == 24


async def test_the_headers_of_a_job(make_bench: MakeBench, tmp_path: Path) -> None:
    """A job's request is a task's of the queue __cron, with the header of cron jobs.

    No task of the app has this header, and no API of the app shows the queue.
    """
    bench = make_bench(jobs=jobs(tmp_path, "url: '/a?b=c', schedule: every 5 mins"))
    await bench.add("plain", headers=[("X-AppEngine-Cron", "true")])
    await bench.runner.advance(300)
    task, job = bench.app.executions
    assert "x-appengine-cron" not in task.headers
    assert job.target == "/a?b=c"
    assert job.headers["x-appengine-cron"] == "true"
    assert job.headers["x-appengine-queuename"] == "__cron"
    assert job.headers["x-appengine-taskretrycount"] == "0"
    assert [*bench.server.services.taskqueue.queues()] == ["default"]


async def test_retries(make_bench: MakeBench, tmp_path: Path) -> None:
    """Without retry_parameters a failed job waits for its next run.

    With them it is retried; with only a backoff, five times.
    """
    start = "schedule: every 20 hours, url:"
    bench = make_bench(
        jobs=jobs(
            tmp_path,
            f"{start} /never",
            f"{start} /twice, retry_parameters: {{job_retry_limit: 2}}",
            f"{start} /five, retry_parameters: {{min_backoff_seconds: 1}}",
        )
    )
    bench.app.answer = lambda execution: 500
    await bench.runner.advance(21 * 3600)
    targets = [execution.target for execution in bench.app.executions]
    assert [targets.count(url) for url in ("/never", "/twice", "/five")] == [1, 3, 6]
    at = [run.at for run in bench.app.executions if run.target == "/five"]
    assert [b - a for a, b in itertools.pairwise(at)] == [1, 2, 4, 8, 16]
    assert [job.last_run is not None for job in bench.cron.jobs] == [True] * 3


async def test_a_run_that_is_due_too_early_is_skipped(
    make_bench: MakeBench, tmp_path: Path
) -> None:
    """The next run is the first one after the end, with the job's deadline."""
    (job,) = jobs(tmp_path, "url: /a, schedule: every 2 mins, attempt_deadline: 90s")
    bench = make_bench(jobs=[job])
    release = bench.hold(200)
    advance = asyncio.create_task(bench.runner.advance(120))
    await until(lambda: bench.app.running)
    bench.clock.move_to(bench.clock.now() + 600)
    release.set()
    await advance
    assert len(bench.app.executions) == 1
    assert bench.app.executions[0].deadline == 90
    (waiting,) = bench.cron.jobs
    expected = job.schedule.next_after(bench.clock.now())
    assert bench.cron.next_run(waiting) == expected


async def test_run_now(make_bench: MakeBench, tmp_path: Path) -> None:
    """The status comes when the attempt has ended; run_next does not report it.

    A job that runs is not started again, nor one of another service. Nothing runs while
    the app does not, and nothing runs by itself unless jobs are scheduled.
    """
    bench = make_bench()
    configs = jobs(
        tmp_path,
        "url: /a, schedule: every day 09:00",
        "url: /b, schedule: every day 09:00, target: other",
    )
    bench.cron.apply(application(cron_jobs=configs))
    job, elsewhere = bench.cron.jobs
    assert await bench.runner.advance(2 * 86400) == 0
    release = bench.hold(503)
    run = asyncio.create_task(bench.cron.run_now(job))
    await until(lambda: bench.app.running)
    for refused in (job, elsewhere):
        with pytest.raises(JobRefusedError):
            await bench.cron.run_now(refused)
    release.set()
    assert await run == 503
    assert job.last_run is not None
    assert job.last_run.status == 503
    assert await bench.runner.run_next() is None
    bench.app.fail("it has died")
    with pytest.raises(AppUnavailable):
        await bench.cron.run_now(job)


async def test_run_now_what_is_scheduled(make_bench: MakeBench, tmp_path: Path) -> None:
    """The run replaces the next one only if the schedule counts from the last end."""
    bench = make_bench(
        jobs=jobs(
            tmp_path,
            "url: /a, schedule: every 24 hours",
            "url: /b, schedule: every day 09:00",
        )
    )
    every, daily = bench.cron.jobs
    before = [bench.cron.next_run(job) for job in bench.cron.jobs]
    bench.clock.move_to(bench.clock.now() + 60)
    assert [await bench.cron.run_now(job) for job in (every, daily)] == [200, 200]
    after = [bench.cron.next_run(job) for job in bench.cron.jobs]
    assert [new == old for new, old in zip(after, before, strict=True)] == [False, True]


async def test_cron_yaml_is_read_again(make_bench: MakeBench, tmp_path: Path) -> None:
    """A job that stays keeps its next run; one that is gone does not run any more."""
    kept, gone = (
        "url: /kept, schedule: every 2 hours",
        "url: /a, schedule: every 1 hours",
    )
    bench = make_bench(jobs=jobs(tmp_path, kept, gone))
    first = bench.cron.next_run(bench.cron.jobs[0])
    bench.clock.move_to(bench.clock.now() + 600)
    new = "url: /new, schedule: every 90 mins"
    bench.cron.apply(application(cron_jobs=jobs(tmp_path, new, kept)))
    assert bench.cron.next_run(bench.cron.jobs[1]) == first
    await bench.runner.advance(2 * 3600)
    assert [run.target for run in bench.app.executions] == ["/new", "/kept"]


async def test_a_job_that_disappears_while_the_app_starts(
    make_bench: MakeBench, tmp_path: Path
) -> None:
    """A request to run it is refused, and the app does not get it."""
    bench = make_bench(jobs=jobs(tmp_path, "url: /gone, schedule: every 1 hours"))
    bench.app.started.clear()
    run = asyncio.create_task(bench.cron.run_now(bench.cron.jobs[0]))
    await until(lambda: bench.app.waiting)
    bench.cron.apply(application(cron_jobs=()))
    bench.app.started.set()
    with pytest.raises(JobRefusedError):
        await run
    assert await bench.runner.advance(3600) == 0


async def test_a_reset(make_bench: MakeBench, tmp_path: Path) -> None:
    """The jobs are scheduled by the clock as it was, and their last runs forgotten."""
    bench = make_bench(jobs=jobs(tmp_path, "url: /a, schedule: every day 09:00"))
    first = bench.cron.next_run(bench.cron.jobs[0])
    await bench.runner.advance(3 * 86400)
    bench.cron.clear()
    bench.clock.reset()
    bench.cron.restart()
    (job,) = bench.cron.jobs
    assert (bench.cron.next_run(job), job.last_run) == (first, None)


async def test_a_job_of_another_service_never_runs(
    make_bench: MakeBench, tmp_path: Path
) -> None:
    """App Engine sends it to the service that `target` names."""
    bench = make_bench(
        jobs=jobs(tmp_path, "url: /a, schedule: every 1 hours, target: other")
    )
    assert await bench.runner.advance(86400) == 0
    assert bench.cron.next_run(bench.cron.jobs[0]) is None


async def test_the_service_that_gets_a_job(
    make_bench: MakeBench, tmp_path: Path
) -> None:
    """The target, then the rules of dispatch.yaml, then the main service.

    A job does not run if its service does not run here.
    """
    every = "schedule: every 1 hours, url:"
    rules = [
        DispatchRule("*", "/jobs/*", "worker", "dispatch.yaml, line 2"),
        DispatchRule("*", "/gone", "gone", "dispatch.yaml, line 4"),
    ]
    bench = make_bench(
        jobs=jobs(
            tmp_path,
            f"{every} /a",
            f"{every} /b, target: worker",
            f"{every} '/jobs/c?d'",
            f"{every} /jobs/e, target: default",
            f"{every} /gone",
            services={"default": None, "worker": None},
        ),
        others=["worker"],
        rules=rules,
    )
    expected = ["default", "worker", "worker", "default", None]
    assert [bench.cron.service(job) for job in bench.cron.jobs] == expected
    assert await bench.runner.advance(3600) == 4
    assert [run.service for run in bench.app.executions] == expected[:4]
    bench.app.fail("it has died", "worker")
    own, other, *_, gone = bench.cron.jobs
    assert await bench.cron.run_now(own) == 200
    with pytest.raises(AppUnavailable):
        await bench.cron.run_now(other)
    with pytest.raises(JobRefusedError, match=r"dispatch\.yaml"):
        await bench.cron.run_now(gone)


async def test_a_rule_that_changes_after_a_job_is_scheduled(
    make_bench: MakeBench, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The attempt fails and names the rule, if its service does not run here."""
    hourly = jobs(tmp_path, "url: /a, schedule: every 1 hours")
    bench = make_bench(jobs=hourly)
    rule = DispatchRule("*", "/a", "gone", "dispatch.yaml, line 2")
    changed = dataclasses.replace(application(cron_jobs=hourly), dispatch=(rule,))
    bench.server.routing.apply(changed)
    bench.cron.apply(changed)
    await bench.runner.advance(3600)
    assert bench.app.executions == []
    assert "dispatch.yaml, line 2" in caplog.text
