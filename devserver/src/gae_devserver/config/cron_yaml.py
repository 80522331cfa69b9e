"""Reads cron.yaml with the SDK's own parser, which leaves the schedules to us."""

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from gae_devserver.config import schedule, settings
from gae_devserver.config.parsing import YamlFile, parse_yaml, read
from gae_devserver.config.retries import retry_parameters
from gae_devserver.config.schedule_times import Schedule
from gae_devserver.config.targets import Versions, service_of, which_runs

if TYPE_CHECKING:
    from google.appengine.api import queueinfo

_MOST_RETRIES = 5
"""The limit of App Engine, and what applies to retry_parameters without a limit."""
# the defaults of Cloud Scheduler, which runs App Engine's cron jobs:
# https://cloud.google.com/scheduler/docs/configuring/retry-jobs
_BACKOFF_SECONDS = 5.0
_DOUBLINGS = 5


@dataclasses.dataclass(frozen=True)
class CronJob:
    """One job, as cron.yaml describes it."""

    url: str
    schedule_text: str
    schedule: Schedule
    timezone: str
    retry_parameters: "queueinfo.RetryParameters"
    description: str | None = None
    target: str | None = None
    attempt_deadline: float | None = None
    """Seconds."""
    is_elsewhere: bool = False
    """Whether App Engine sends the job to another service, so that it never runs here.
    """


@dataclasses.dataclass(frozen=True)
class Cron:
    """What cron.yaml describes."""

    jobs: tuple[CronJob, ...] = ()
    warnings: tuple[str, ...] = ()
    """A sentence for each job that App Engine refuses, or that never runs here."""


def load_cron_yaml(path: Path, services: Versions) -> Cron:
    """Read cron.yaml, for a server that runs one version of each of these services.

    Raises:
        ConfigError: this server cannot use it.
    """
    if not path.exists():
        return Cron()
    file = parse_yaml(read(path), path)
    if file.root is None:
        raise file.error("the file is empty. Delete it, or write 'cron:' for no jobs.")
    # import late: an app without cron.yaml starts without it
    from google.appengine.api import croninfo

    info = settings.load(
        file, croninfo.LoadSingleCron, croninfo.CronInfoExternal, "cron:"
    )
    entries = info.cron or []
    jobs = tuple(
        _job(entry, file, ("cron", index), services)
        for index, entry in enumerate(entries)
    )
    warnings = [*settings.refused_settings(info, file)]
    warnings += _warnings(jobs, file, services)
    return Cron(jobs, tuple(warnings))


def _job(
    entry: Any, file: YamlFile, here: tuple[str | int, ...], services: Versions
) -> CronJob:
    """Return a job.

    Raises:
        ConfigError: a setting cannot be used, which the SDK's parser does not see.
    """
    subject = f"job {entry.url}"
    zone = _zone(entry.timezone or "UTC")
    try:
        parsed = schedule.parse(entry.schedule, zone)
    except schedule.ScheduleError as error:
        raise file.error(
            f"{subject}: '{entry.schedule}' is not a schedule: {error}. Write for "
            "example 'schedule: every 24 hours' or 'schedule: every monday 09:00'.",
            *here,
            "schedule",
        ) from error
    deadline = entry.attempt_deadline
    if deadline is not None and deadline.total_seconds() <= 0:
        raise file.error(
            f"{subject}: attempt_deadline is not above 0. Write for example "
            "'attempt_deadline: 60s'.",
            *here,
            "attempt_deadline",
        )
    return CronJob(
        url=entry.url,
        schedule_text=entry.schedule,
        schedule=parsed,
        timezone=zone.key,
        retry_parameters=_retries(entry.retry_parameters, subject, file, here),
        description=entry.description,
        target=entry.target,
        attempt_deadline=None if deadline is None else deadline.total_seconds(),
        is_elsewhere=_is_elsewhere(entry.target, services),
    )


def _is_elsewhere(target: str | None, services: Versions) -> bool:
    if target is None and len(services) > 1:
        return False
    return service_of(target or "default", services) is None


# one object for each zone, because two that are read from a file are not equal
@functools.cache
def _zone(name: str) -> ZoneInfo:
    # not the system's database, which slim images lack; the SDK, too, looks here
    import pytz

    name = pytz.timezone(name).zone
    with pytz.open_resource(name) as data:
        return ZoneInfo.from_file(data, key=name)


def _retries(
    retry: Any, subject: str, file: YamlFile, here: tuple[str | int, ...]
) -> "queueinfo.RetryParameters":
    from google.appengine.api import queueinfo

    here = (*here, "retry_parameters")
    checked = retry_parameters(retry, subject, file, here, of="job")
    if checked is None:
        return queueinfo.RetryParameters(task_retry_limit=0)
    if checked.task_retry_limit is None and checked.task_age_limit is None:
        checked.task_retry_limit = _MOST_RETRIES
    if checked.max_doublings is None:
        checked.max_doublings = _DOUBLINGS
    if checked.min_backoff_seconds is None:
        most = checked.max_backoff_seconds
        checked.min_backoff_seconds = min(
            _BACKOFF_SECONDS, _BACKOFF_SECONDS if most is None else most
        )
    return checked


def _warnings(
    jobs: tuple[CronJob, ...], file: YamlFile, services: Versions
) -> Iterator[str]:
    """Yield which job never runs here, and what gcloud app deploy refuses."""
    service = next(iter(services))
    for index, job in enumerate(jobs):
        if job.is_elsewhere:
            where = f"{file.where('cron', index, 'target')}: the job {job.url}"
            if job.target is None:
                yield (
                    f"{where} does not run on this server of the service '{service}': "
                    "its service is 'default'. To run it here, add "
                    f"'target: {service}'."
                )
            else:
                yield (
                    f"{where} cannot run: its target is '{job.target}', and this "
                    f"server {which_runs(services, job.target)}"
                )
        if (job.retry_parameters.task_retry_limit or 0) > _MOST_RETRIES:
            keys = ("cron", index, "retry_parameters", "job_retry_limit")
            yield (
                f"{file.where(*keys)}: job {job.url}: write at most {_MOST_RETRIES}, "
                "or gcloud app deploy refuses the file."
            )
