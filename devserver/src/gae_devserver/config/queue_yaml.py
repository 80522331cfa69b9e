"""Reads queue.yaml with the SDK's own parser."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gae_devserver.config.parsing import ConfigError, parse, read

if TYPE_CHECKING:
    from google.appengine.api import queueinfo


@dataclasses.dataclass(frozen=True)
class QueueConfig:
    """One queue, as queue.yaml describes it."""

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


DEFAULT_QUEUE = QueueConfig("default")


def load_queue_yaml(folder: Path) -> tuple[QueueConfig, ...]:
    """Read queue.yaml; without one, there is only the default queue."""
    path = folder / "queue.yaml"
    if not path.exists():
        return (DEFAULT_QUEUE,)
    # import late: this loads all of taskqueue, and the app must start first
    from google.appengine.api import queueinfo

    info = parse(queueinfo.LoadSingleQueue, read(path), path)
    queues: dict[str, QueueConfig] = {}
    for entry in info.queue or []:
        if not entry.name:
            raise ConfigError(f"{path}: a queue has no name. Add one.")
        if entry.name in queues:
            raise ConfigError(
                f"{path}: the queue {entry.name} is listed twice. Delete one entry."
            )
        for name in ("bucket_size", "max_concurrent_requests"):
            if (getattr(entry, name) or 0) < 0:
                # the SDK's parser accepts it, but no task would ever run
                raise ConfigError(
                    f"{path}: queue {entry.name}: {name} is {getattr(entry, name)}, "
                    "but it must not be negative."
                )
        try:
            rate = None if entry.rate is None else queueinfo.ParseRate(entry.rate)
            if entry.retry_parameters is not None:
                queueinfo.TranslateRetryParameters(entry.retry_parameters)
        # ValueError: the number is too large for the task queue's messages
        except (queueinfo.MalformedQueueConfiguration, ValueError) as error:
            raise ConfigError(f"{path}: queue {entry.name}: {error}") from error
        except OverflowError as error:
            raise ConfigError(
                f"{path}: queue {entry.name}: the task_age_limit is too large."
            ) from error
        queues[entry.name] = QueueConfig(
            name=entry.name,
            mode=entry.mode or "push",
            rate=rate,
            rate_text=entry.rate,
            bucket_size=5 if entry.bucket_size is None else entry.bucket_size,
            max_concurrent_requests=entry.max_concurrent_requests,
            retry_parameters=entry.retry_parameters,
            target=entry.target,
            acl=tuple(a.user_email or a.writer_email or "" for a in entry.acl or ()),
        )
    queues.setdefault(DEFAULT_QUEUE.name, DEFAULT_QUEUE)
    return tuple(queues.values())
