"""Reads queue.yaml with the SDK's own parser."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gae_devserver.config import settings
from gae_devserver.config.parsing import YamlFile, parse_yaml, read
from gae_devserver.config.retries import check_number, retry_parameters
from gae_devserver.config.targets import Versions, service_of, which_runs

if TYPE_CHECKING:
    from google.appengine.api import queueinfo

_MOST = 500
"""Tasks per second, and tokens in a bucket."""


@dataclasses.dataclass(frozen=True)
class QueueConfig:
    """One queue, as queue.yaml or the API of Cloud Tasks describes it."""

    name: str
    mode: Literal["push", "pull"] = "push"
    rate: float | None = None
    """Tasks per second; None: no limit; 0.0: no task runs."""
    rate_text: str | None = None
    bucket_size: int = 5
    max_concurrent_requests: int | None = None
    retry_parameters: "queueinfo.RetryParameters | None" = None
    target: str | None = None
    acl: tuple[str, ...] = ()
    settings: bytes | None = None
    """The settings that the API of Cloud Tasks gave it, in that API's own form."""
    made_by_api: bool = False
    """Whether that API made the queue, so that no queue.yaml has had it."""


@dataclasses.dataclass(frozen=True)
class Queues:
    """What queue.yaml describes."""

    queues: tuple[QueueConfig, ...]
    warnings: tuple[str, ...] = ()
    """A sentence for each setting that gcloud app deploy refuses, or without effect."""


DEFAULT_QUEUE = QueueConfig("default")


def load_queue_yaml(path: Path, services: Versions) -> Queues:
    """Read queue.yaml; without one, there is only the default queue.

    `services` are those that run, because a queue can have a target.

    Raises:
        ConfigError: this server cannot use it.
    """
    if not path.exists():
        return Queues((DEFAULT_QUEUE,))
    file = parse_yaml(read(path), path)
    if file.root is None:
        raise file.error("the file is empty. Delete it, or add a queue.")
    # import late: this loads all of taskqueue, and the app must start first
    from google.appengine.api import queueinfo

    info = settings.load(
        file, queueinfo.LoadSingleQueue, queueinfo.QueueInfoExternal, "queue:"
    )
    queues: dict[str, QueueConfig] = {}
    for index, entry in enumerate(info.queue or ()):
        here = ("queue", index)
        if not entry.name:
            raise file.error("a queue has no name. Add one.", *here)
        if entry.name in queues:
            raise file.error(
                f"the queue {entry.name} is listed twice. Delete one entry.", *here
            )
        queues[entry.name] = _queue(entry, file, here)
    queues.setdefault(DEFAULT_QUEUE.name, DEFAULT_QUEUE)
    warnings = [*settings.refused_settings(info, file)]
    warnings += _refused(info.queue or [], file)
    warnings += _elsewhere(info.queue or [], file, services)
    return Queues(tuple(queues.values()), tuple(warnings))


def _queue(entry: Any, file: YamlFile, here: tuple[str | int, ...]) -> QueueConfig:
    """Return a queue.

    Raises:
        ConfigError: a setting is out of range, which the SDK's parser does not see.
    """
    from google.appengine.api import queueinfo

    subject = f"queue {entry.name}"
    for name in ("bucket_size", "max_concurrent_requests"):
        check_number(entry, name, subject, file, here)
    try:
        rate = None if entry.rate is None else queueinfo.ParseRate(entry.rate)
    except (queueinfo.MalformedQueueConfiguration, ValueError) as error:
        text = f"{subject}: {error}. Write for example 'rate: 5/s'."
        raise file.error(text, *here, "rate") from error
    return QueueConfig(
        name=entry.name,
        mode=entry.mode or "push",
        rate=rate,
        rate_text=entry.rate,
        bucket_size=5 if entry.bucket_size is None else entry.bucket_size,
        max_concurrent_requests=entry.max_concurrent_requests,
        retry_parameters=retry_parameters(
            entry.retry_parameters,
            subject,
            file,
            (*here, "retry_parameters"),
            of="task",
        ),
        target=entry.target,
        acl=tuple(a.user_email or a.writer_email or "" for a in entry.acl or ()),
    )


def _refused(entries: list[Any], file: YamlFile) -> Iterator[str]:
    """Yield what has no effect, and what gcloud app deploy refuses."""
    if not entries:
        yield (
            f"{file.where('queue')}: there is no queue in this file. Add one, such as "
            "'- name: my-queue', or delete the file."
        )
    for index, entry in enumerate(entries):
        for name, what in _problems(entry):
            yield (
                f"{file.where('queue', index, name)}: queue {entry.name}: {what}, or "
                "gcloud app deploy refuses the file."
            )


def _elsewhere(entries: list[Any], file: YamlFile, services: Versions) -> Iterator[str]:
    """Yield which queue has a target that does not run here."""
    for index, entry in enumerate(entries):
        if entry.target and service_of(entry.target, services) is None:
            yield (
                f"{file.where('queue', index, 'target')}: the tasks of the queue "
                f"{entry.name} cannot run: its target is '{entry.target}', and this "
                f"server {which_runs(services, entry.target)}"
            )


def _problems(entry: Any) -> Iterator[tuple[str, str]]:
    """Yield the settings of a push queue to change, and how."""
    from google.appengine.api import queueinfo

    if entry.mode == "pull":
        return
    if entry.rate is None:
        yield "name", "add a rate, such as 'rate: 5/s'"
    elif queueinfo.ParseRate(entry.rate) > _MOST:
        yield "rate", f"write at most {_MOST}/s instead of {entry.rate}"
    if (entry.bucket_size or 0) > _MOST:
        yield "bucket_size", f"write at most {_MOST} instead of {entry.bucket_size}"
