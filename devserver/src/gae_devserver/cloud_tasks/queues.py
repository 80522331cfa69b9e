"""Queues of Cloud Tasks as queues of queue.yaml, and back."""

import math
from typing import Any

from google.appengine.api import queueinfo
from google.protobuf import field_mask_pb2

from gae_devserver.cloud_tasks import messages
from gae_devserver.cloud_tasks.queue_targets import check_target
from gae_devserver.cloud_tasks.tasks import describe_retries, seconds
from gae_devserver.cloud_tasks.validation import check_backoff, check_retry_config
from gae_devserver.config.queue_yaml import QueueConfig
from gae_devserver.config.service_file import DEFAULT
from gae_devserver.rpc.errors import InvalidArgumentError, check
from gae_devserver.tasks.queues import Queue

# https://cloud.google.com/tasks/docs/configuring-queues
_MAX_RATE = 500.0
_LEAST_BURST, _MOST_BURST = 10, 100
_MAX_CONCURRENT = 5000
_DEFAULT_CONCURRENT = 1000
_DEFAULT_ATTEMPTS = 100
_MIN_BACKOFF = 0.1
_MAX_BACKOFF = 3600.0
_MAX_DOUBLINGS = 16
_OUTPUT_ONLY = ("name", "state", "purge_time")


def config_of(name: str, settings: bytes) -> QueueConfig:
    """Return what a queue does with the settings that `settings_of` returned."""
    queue = messages.Queue.FromString(settings)
    rates, retry = queue.rate_limits, queue.retry_config
    override = queue.app_engine_routing_override
    # one version of each service runs; without a service, it is one of `default`
    target = override.service or (DEFAULT if override.ByteSize() else None)
    attempts, age = retry.max_attempts, math.ceil(seconds(retry.max_retry_duration))
    return QueueConfig(
        name=name,
        rate=rates.max_dispatches_per_second,
        rate_text=f"{rates.max_dispatches_per_second:g}/s",
        bucket_size=rates.max_burst_size,
        max_concurrent_requests=rates.max_concurrent_dispatches,
        retry_parameters=queueinfo.RetryParameters(
            task_retry_limit=attempts - 1 if attempts > 0 else None,
            task_age_limit=f"{age}s" if age else None,
            min_backoff_seconds=seconds(retry.min_backoff),
            max_backoff_seconds=seconds(retry.max_backoff),
            max_doublings=retry.max_doublings,
        ),
        target=target,
        settings=settings,
    )


def settings_of(asked: Any) -> bytes:
    """Return the settings of a Queue, with the API's defaults for what is left out.

    Raises:
        InvalidArgumentError: a setting is out of range.
        UnimplementedError: a setting is one that the dev server lacks.
    """
    if asked.HasField("http_target"):
        check_target(asked.http_target)
    queue = messages.Queue.FromString(asked.SerializeToString())
    for field in _OUTPUT_ONLY:
        queue.ClearField(field)
    queue.app_engine_routing_override.ClearField("host")
    if not queue.app_engine_routing_override.ByteSize():
        queue.ClearField("app_engine_routing_override")
    _complete_rates(queue.rate_limits)
    _complete_retries(queue.retry_config)
    ratio = queue.stackdriver_logging_config.sampling_ratio
    check(
        0.0 <= ratio <= 1.0,
        f"stackdriver_logging_config.sampling_ratio is {ratio:g}, but it must be from "
        "0 to 1.",
    )
    if not asked.HasField("stackdriver_logging_config"):
        queue.ClearField("stackdriver_logging_config")
    return bytes(queue.SerializeToString())


def _complete_rates(rates: Any) -> None:
    rate = rates.max_dispatches_per_second or _MAX_RATE
    check(
        0.0 < rate <= _MAX_RATE,
        f"rate_limits.max_dispatches_per_second is {rate:g}, but it must be above 0 "
        f"and at most {_MAX_RATE:g}.",
    )
    rates.max_dispatches_per_second = rate
    # output only; what production chooses for 1/s, 5/s and 500/s
    rates.max_burst_size = min(max(math.ceil(rate), _LEAST_BURST), _MOST_BURST)
    concurrent = rates.max_concurrent_dispatches or _DEFAULT_CONCURRENT
    check(
        0 < concurrent <= _MAX_CONCURRENT,
        f"rate_limits.max_concurrent_dispatches is {concurrent}, but it must be above "
        f"0 and at most {_MAX_CONCURRENT}.",
    )
    rates.max_concurrent_dispatches = concurrent


def _complete_retries(retry: Any) -> None:
    check_retry_config(retry, "queue.retry_config")
    retry.max_attempts = retry.max_attempts or _DEFAULT_ATTEMPTS
    retry.max_doublings = retry.max_doublings or _MAX_DOUBLINGS
    if not seconds(retry.min_backoff):
        retry.min_backoff.FromMicroseconds(int(_MIN_BACKOFF * 1e6))
    if not seconds(retry.max_backoff):
        longest = max(_MAX_BACKOFF, seconds(retry.min_backoff))
        retry.max_backoff.FromMicroseconds(int(longest * 1e6))
    check_backoff(retry, "queue.retry_config")


def merge(current: Any, asked: Any, mask: field_mask_pb2.FieldMask) -> Any:
    """Return a Queue with the fields that an update changes; an empty mask means all.

    Raises:
        InvalidArgumentError: the mask has a path that no queue has.
    """
    if not mask.paths:
        return asked
    if not mask.IsValidForDescriptor(messages.Queue.DESCRIPTOR):
        raise InvalidArgumentError(
            f"update_mask is {', '.join(mask.paths)}, which are not all fields of a "
            "queue."
        )
    source = messages.Queue.FromString(asked.SerializeToString())
    for path in mask.paths:
        # a field that is left out is cleared, also if its whole message is left out
        part = source
        for name in path.split(".")[:-1]:
            part = getattr(part, name)
            part.SetInParent()
    merged = messages.Queue.FromString(current.SerializeToString())
    mask.MergeMessage(
        source, merged, replace_message_field=True, replace_repeated_field=True
    )
    if not merged.http_target.oidc_token.ByteSize():
        merged.http_target.ClearField("oidc_token")
    if not merged.http_target.ByteSize():
        merged.ClearField("http_target")
    return merged


def describe(
    queue: Queue, into: Any, *, name: str, is_disabled: bool, offset: float
) -> None:
    """Fill a Queue of Cloud Tasks from a queue of either API.

    `name` is its name in the request, and `offset` the seconds that the server's clock
    is ahead of the app's.
    """
    config = queue.config
    if config.settings is not None:
        into.MergeFromString(config.settings)
    else:
        _describe_yaml(queue, into)
    into.name = name
    state = "DISABLED" if is_disabled else "PAUSED" if queue.held else "RUNNING"
    into.state = messages.Queue.State.Value(state)
    if queue.purged is not None:
        into.purge_time.FromMicroseconds(int((queue.purged - offset) * 1e6))


def _describe_yaml(queue: Queue, into: Any) -> None:
    config, rates = queue.config, into.rate_limits
    rates.max_dispatches_per_second = _MAX_RATE if config.rate is None else config.rate
    rates.max_burst_size = config.bucket_size
    limit = config.max_concurrent_requests
    rates.max_concurrent_dispatches = limit or _DEFAULT_CONCURRENT
    parameters = queue.retry_parameters or queueinfo.TranslateRetryParameters(
        queueinfo.RetryParameters()
    )
    describe_retries(parameters, into.retry_config)
    if config.target:
        *version, service = config.target.split(".")
        into.app_engine_routing_override.service = service
        into.app_engine_routing_override.version = ".".join(version)
