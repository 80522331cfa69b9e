"""Checks `retry_parameters`, which queues and cron jobs have under different names."""

from typing import TYPE_CHECKING, Any, Literal

from gae_devserver.config.parsing import YamlFile

if TYPE_CHECKING:
    from google.appengine.api import queueinfo

_BACKOFF = ("min_backoff_seconds", "max_backoff_seconds", "max_doublings")


def retry_parameters(
    retry: Any,
    subject: str,
    file: YamlFile,
    keys: tuple[str | int, ...],
    *,
    of: Literal["task", "job"],
) -> "queueinfo.RetryParameters | None":
    """Return what stands below `keys` as the retry parameters of a queue.

    `of` is the beginning of the names of both limits.

    Raises:
        ConfigError: a number is out of range, which the SDK's parser does not see.
    """
    from google.appengine.api import queueinfo

    if retry is None:
        return None
    for name in (f"{of}_retry_limit", *_BACKOFF):
        check_number(retry, name, subject, file, keys)
    names = {name: name for name in _BACKOFF}
    names |= {
        f"task_{limit}": f"{of}_{limit}" for limit in ("retry_limit", "age_limit")
    }
    settings = {ours: getattr(retry, theirs) for ours, theirs in names.items()}
    checked = queueinfo.RetryParameters(**settings)
    try:
        queueinfo.TranslateRetryParameters(checked)
    # ValueError: the number is too large for the task queue's messages
    except (queueinfo.MalformedQueueConfiguration, ValueError, OverflowError) as error:
        reason = str(error).rstrip(".").replace("than than", "than")
        text = f"{subject}: {reason}. Fix 'retry_parameters'."
        raise file.error(text, *keys) from error
    return checked


def check_number(
    group: Any, name: str, subject: str, file: YamlFile, keys: tuple[str | int, ...]
) -> None:
    """Refuse a number that is negative.

    Raises:
        ConfigError: it is.
    """
    value = getattr(group, name)
    # not <, because nothing is less than NaN
    if value is not None and not value >= 0:
        text = f"{subject}: {name} is {value}, but it must be 0 or more."
        raise file.error(text, *keys, name)
