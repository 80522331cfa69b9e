"""app.yaml and queue.yaml: what cannot be used is a ConfigError, and nothing else."""

import contextlib
import json
from pathlib import Path

from hypothesis import strategies as st

from devserver import config
from devserver.config import ConfigError
from tests.fuzz.conftest import Fuzz

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=10),
    st.sampled_from(["default", "push", "pull", "5/s", "0", "-1/s", "10M", "1d", "~"]),
    st.sampled_from(["python313", "python27", "gunicorn main:app", "warmup", "a" * 99]),
    st.sampled_from(["/.*", "(", "static", "../x", "auto", "required", "999999999"]),
)
KEYS = st.sampled_from(
    [
        *("runtime", "service", "module", "entrypoint", "env_variables", "handlers"),
        *("app_engine_apis", "inbound_services", "instance_class", "version", "url"),
        *("static_dir", "static_files", "upload", "script", "login", "secure"),
        *("automatic_scaling", "includes", "libraries", "mime_type", "expiration"),
        *("http_headers", "require_matching_file", "queue", "name", "rate", "mode"),
        *("bucket_size", "max_concurrent_requests", "retry_parameters", "acl"),
        *("task_retry_limit", "task_age_limit", "min_backoff_seconds", "target"),
        *("max_backoff_seconds", "max_doublings", "total_storage_limit", "x"),
    ]
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=4)
    ),
    max_leaves=8,
)
# YAML that is no JSON
ODD = st.text("ab:-?[]{}&*!|>'\"%@`#,\n\t ~<=\x00é\u2028", max_size=40)


def as_yaml(value: object) -> str:
    """Return a value as JSON, which YAML reads too."""
    return json.dumps(value)


def check_files(folder: Path, app_yaml: str, queue_yaml: str) -> None:
    """Read the files as the server does."""
    data = app_yaml.encode("utf-8", "surrogatepass")
    (folder / "app.yaml").write_bytes(data)
    data = queue_yaml.encode("utf-8", "surrogatepass")
    (folder / "queue.yaml").write_bytes(data)
    with contextlib.suppress(ConfigError):
        read = config.load(folder)
        assert any(queue.name == "default" for queue in read.queues)


def test_app_yaml(tmp_path: Path, fuzz: Fuzz) -> None:
    """Any text, and any value for any key."""

    def check_text(text: str) -> None:
        check_files(tmp_path, text, "")

    def check(settings: dict[str, object], odd: str) -> None:
        text = as_yaml({"runtime": "python313", **settings})
        check_files(tmp_path, text, "")
        lines = "".join(f"{k}: {as_yaml(v)}\n" for k, v in settings.items())
        check_files(tmp_path, f"runtime: python313\n{lines}{odd}", "")

    fuzz("app.yaml: text", check_text, st.one_of(ODD, st.text(max_size=40)))
    fuzz("app.yaml: values", check, st.dictionaries(KEYS, VALUES, max_size=4), ODD)


def test_queue_yaml(tmp_path: Path, fuzz: Fuzz) -> None:
    """Any text, and any value for any key of a queue."""
    runtime = "runtime: python313\n"

    def check_text(text: str) -> None:
        check_files(tmp_path, runtime, text)

    def check(queues: object, odd: str) -> None:
        check_files(tmp_path, runtime, as_yaml({"queue": queues}))
        check_files(tmp_path, runtime, f"queue: {as_yaml(queues)}\n{odd}")

    queue = st.dictionaries(KEYS, VALUES, max_size=4)
    named = st.tuples(queue, SCALARS).map(lambda pair: {**pair[0], "name": pair[1]})
    queues = st.one_of(VALUES, st.lists(st.one_of(queue, named), max_size=3))
    fuzz("queue.yaml: text", check_text, st.one_of(ODD, st.text(max_size=40)))
    fuzz("queue.yaml: values", check, queues, ODD)
