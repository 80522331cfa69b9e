"""What each setting of app.yaml and the files beside it takes, in words."""

import dataclasses
import difflib
import re
from collections.abc import Callable, Mapping
from typing import Any

from google.appengine.api import validation


@dataclasses.dataclass(frozen=True)
class Expected:
    """What a setting takes."""

    what: str
    example: str
    fix: Callable[[str], str] | None = None
    """Returns what the user probably means; it is checked before it is shown."""


def _hyphens(value: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", value).strip("-")


def _time(value: str, separator: str = "") -> str:
    unit = re.search(r"[smhd]", value)
    return f"{_number(value)}{separator}{unit[0] if unit else 's'}"


def _number(value: str) -> str:
    number = re.match(r"[\d.]*\d", value)
    return number[0] if number else ""


def _host_and_path(value: str) -> str:
    host, slash, path = re.sub(r"^https?://", "", value).partition("/")
    host = re.sub(r":\d*$", "", host.lower())
    host = re.sub(r"^[\d.]+$", "*", host)
    return f"{host or '*'}/{path if slash else '*'}"


def _service_and_version(value: str) -> str:
    parts = (_hyphens(part).lower() for part in reversed(value.split(".")[-2:]))
    return ":".join(parts)


_SERVICE = Expected(
    "the name of a service, which has lowercase letters, digits and hyphens",
    "worker",
    lambda value: _hyphens(value).lower(),
)
_EXPIRATION = Expected("a time", "10m", _time)
# a name that means something else in other groups has the group's class before it
_EXPECTED: Mapping[str, Expected] = {
    "QueueEntry.name": Expected(
        "the name of a queue, which has up to 499 letters, digits and hyphens",
        "my-queue",
        _hyphens,
    ),
    "rate": Expected("a rate", "5/s", lambda value: _time(value, "/")),
    "target": _SERVICE,
    "service": _SERVICE,
    "module": _SERVICE,
    "task_age_limit": Expected("a time", "2d", _time),
    "version": Expected(
        "the name of a version, which has lowercase letters, digits and hyphens",
        "v1",
        lambda value: _hyphens(value).lower(),
    ),
    "url": Expected(
        "a pattern of paths, which begins with / and has no ^ and $",
        "/.*",
        lambda value: "/" + value.strip("^$").lstrip("/"),
    ),
    "CronEntry.target": dataclasses.replace(_SERVICE, fix=_service_and_version),
    "CronEntry.url": Expected(
        "a path, which begins with /",
        "/daily",
        lambda value: "/" + re.sub(r"^(https?://[^/]*)?/*", "", value),
    ),
    "DispatchEntry.url": Expected(
        "a host in lowercase with a path, in which only the first and the last "
        "character may be *",
        "*/worker/*",
        _host_and_path,
    ),
    "schedule": Expected("a schedule", "every 24 hours"),
    "timezone": Expected("the name of a time zone", "Europe/Berlin"),
    "description": Expected("a text of at most 499 characters", "daily report"),
    "job_retry_limit": Expected("a whole number from 0 to 5", "3"),
    "job_age_limit": Expected("a time", "2d", _time),
    "attempt_deadline": Expected("a number of seconds", "60s", _time),
    "expiration": _EXPIRATION,
    "default_expiration": _EXPIRATION,
    **dict.fromkeys(
        (
            "instances",
            "max_concurrent_requests",
            "max_idle_instances",
            "max_instances",
            "min_idle_instances",
        ),
        Expected("a whole number", "10", _number),
    ),
}
_TYPES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
}
_REFERENCE = "https://cloud.google.com/appengine/docs/standard/reference/app-yaml"


def about_value(
    kind: type, key: str, value: str, validator: Any, *, in_list: bool = False
) -> str:
    """Return what is wrong with the value of a setting, and what to write."""
    if not value:
        return f"'{key}' has no value. Write one, or delete the setting."
    known = _EXPECTED.get(f"{kind.__name__}.{key}") or _EXPECTED.get(key)
    inner = innermost(validator)
    options = _options(inner)
    fixed = ""
    if known is not None:
        what, example = known.what, known.example
        fixed = known.fix(value) if known.fix else ""
    elif options:
        what, example = f"one of {', '.join(options)}", options[0]
        near = difflib.get_close_matches(value.lower(), options, n=1)
        fixed = near[0] if near else ""
    elif inner.expected_type in _TYPES:
        what = _TYPES[inner.expected_type]
        example = "true" if inner.expected_type is bool else "10"
        fixed = f'"{value}"' if inner.expected_type is str else _number(value)
    else:
        return (
            f"{shown(value)} is not a valid value of '{key}'. Fix it: see {_REFERENCE}."
        )
    advice = "Write for example"
    if fixed and _accepts(validator, fixed, key):
        advice, example = "Write", fixed
    if example.startswith("*"):  # which begins a reference in YAML
        example = f'"{example}"'
    setting = f"- {example}" if in_list else f"{key}: {example}"
    return f"{shown(value)} is not {what}. {advice} '{setting}'."


def shown(value: str) -> str:
    """Return a value in quotes, on one line."""
    text = " ".join(value.split())
    return f"'{text[:60]}...'" if len(text) > 60 else f"'{text}'"


def innermost(validator: Any) -> Any:
    """Return a validator without the ones that say how often a setting occurs."""
    inner = getattr(validator, "validator", None)
    return innermost(inner) if isinstance(inner, validation.Validator) else validator


def _options(validator: Any) -> list[str]:
    """Return the values that a setting takes if they are few."""
    if isinstance(validator, validation.Options):
        # other spellings of true and false are options too
        return sorted(set(validator.options.values()))
    pattern = getattr(getattr(validator, "re", None), "pattern", "")
    words = re.fullmatch(r"\^?(?:\(\?:)?\(?([\w|()]+?)\)*\$?", pattern)
    return re.findall(r"\w+", words[1]) if words and "|" in words[1] else []


def _accepts(validator: Any, value: str, key: str) -> bool:
    try:
        validator(value, key)
    except (validation.ValidationError, TypeError, ValueError):
        return False
    return True
