"""Contents of app.yaml and queue.yaml that are right, or have one odd thing."""

import copy
import json
import math
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from tests.fuzz.drawing import weighted

File = dict[str, Any]

# JSON writes characters above this as two escapes, which YAML does not combine
_TEXTS = st.text(
    st.characters(max_codepoint=0xFFFF, exclude_characters="\x7f"), max_size=10
)
_NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,8}[a-z0-9]", fullmatch=True)
_DURATIONS = st.sampled_from(["10m", "1d 2h", "0", "7d 7d", "5m 30", "1s"])


_OF_ANY_HANDLER = {
    "login": st.sampled_from(["optional", "required", "admin"]),
    "secure": st.sampled_from(["always", "never", "optional"]),
    "redirect_http_response_code": st.sampled_from(["301", "307"]),
}
_OF_FILES = {
    "mime_type": st.sampled_from(["text/x-mine", "image/png"]),
    "expiration": _DURATIONS,
    "http_headers": st.dictionaries(
        st.sampled_from(["X-Mine", "Cache-Control", "Vary"]),
        st.sampled_from(["a", "private", "no-cache, x"]),
    ),
    "require_matching_file": st.booleans(),
}
_URLS = st.sampled_from(["/s", "/static/", "/a/b", "/favicon.ico", "/s.*", "/(a|b)"])
_FOLDERS = st.sampled_from(["s", "assets/static", "s/", "no-such-folder", "é"])
_STATIC_FILES = [
    (r"/i/(.*\.(gif|png))", r"images/\2/\1", r"images/.*"),
    (r"/(.*)", r"s/\1", r".*\.css"),
    ("/favicon.ico", "s/favicon.ico", r"s/favicon\.ico"),
    ("/x(?P<n>.)", r"s/\g<n>", "s/.*"),
    ("/y", "index.html", "index.html"),
]
_HANDLERS = st.one_of(
    st.fixed_dictionaries(
        {"url": st.just("/.*"), "script": st.sampled_from(["auto", "a.b"])},
        optional=_OF_ANY_HANDLER,
    ),
    st.fixed_dictionaries(
        {"url": _URLS, "static_dir": _FOLDERS},
        optional=_OF_FILES,
    ),
    *(
        st.fixed_dictionaries(
            {"url": st.just(url), "static_files": st.just(file), "upload": st.just(of)},
            optional=_OF_FILES,
        )
        for url, file, of in _STATIC_FILES
    ),
)
APP_YAML: st.SearchStrategy[File] = st.fixed_dictionaries(
    {
        "runtime": st.sampled_from(["python313", "python311", "python3"]),
        "handlers": st.lists(_HANDLERS, max_size=4),
    },
    optional={
        "service": _NAMES,
        "version": _NAMES,
        "entrypoint": st.sampled_from(["gunicorn main:app", "exec gunicorn main:app"]),
        "env_variables": st.dictionaries(
            st.sampled_from(["A", "a_b", "PORT", "GAE_ENV", "API_HOST", "_"]), _TEXTS
        ),
        "app_engine_apis": st.booleans(),
        "inbound_services": st.lists(st.sampled_from(["warmup", "mail"]), min_size=1),
        "instance_class": st.sampled_from(["F1", "F4_1G", "B8"]),
        "default_expiration": _DURATIONS,
        "threadsafe": st.booleans(),
        "automatic_scaling": st.just({"max_instances": 3, "min_idle_instances": 1}),
        "error_handlers": st.just([{"file": "error.html"}]),
        "builtins": st.just([{"deferred": "on"}]),
        "vpc_access_connector": st.just(
            {"name": "projects/p/locations/l/connectors/c"}
        ),
        "skip_files": st.just(["^a$"]),
    },
)
"""Contents of an app.yaml that App Engine accepts."""

_QUEUE_OPTIONS = {
    "rate": st.sampled_from(["5/s", "0", "0/s", "1.5/m", "100/h", "1/d", "500/s"]),
    "bucket_size": st.integers(1, 100),
    "max_concurrent_requests": st.integers(1, 1000),
    "target": _NAMES,
    "retry_parameters": st.fixed_dictionaries(
        {},
        optional={
            "task_retry_limit": st.integers(0, 20),
            "task_age_limit": st.sampled_from(["1s", "2h", "1.5d"]),
            "min_backoff_seconds": st.sampled_from([0.1, 1, 10]),
            "max_backoff_seconds": st.sampled_from([10, 3600.5]),
            "max_doublings": st.integers(0, 16),
        },
    ),
}
_ACL = st.just([{"user_email": "a@b.test"}, {"writer_email": "c@d.test"}])
_QUEUES: st.SearchStrategy[File] = st.one_of(
    st.fixed_dictionaries({}, optional={"mode": st.just("push"), **_QUEUE_OPTIONS}),
    st.fixed_dictionaries({"mode": st.just("pull")}, optional={"acl": _ACL}),
)
QUEUE_YAML: st.SearchStrategy[File] = st.fixed_dictionaries(
    {
        "queue": st.dictionaries(
            st.sampled_from(["default", "other", "a-1", "B", "x" * 100]),
            _QUEUES,
            max_size=3,
        ).map(lambda queues: [{"name": name, **queues[name]} for name in queues])
    },
    optional={"total_storage_limit": st.sampled_from(["120M", "1.5G"])},
)
"""Contents of a queue.yaml that App Engine accepts."""

_ODD_NUMBERS = st.sampled_from(
    [
        *(0, -1, 1, 2**31, 99999999999, -(2**63), 10**30, 0.5, -0.0, 1e300),
        *(math.nan, math.inf, -math.inf),
    ]
)
_ODD_TEXTS = st.one_of(
    st.sampled_from(["default", "push", "pull", "5/s", "0", "-1/s", "10M", "1d", "~"]),
    st.sampled_from(["/.*", "(", "static", "../x", "auto", "required", "999999999"]),
    st.sampled_from(["/etc", "s/../..", r"s/\2", r"s/\g<n>", "(?P<n>x", "a\0b", "*"]),
    st.sampled_from(["1/s/s", "1e9/s", "1/x", "0x1/s", "python27", "a" * 600, "5"]),
    st.sampled_from(["infs", "nans", "9" * 400 + "d", "9" * 400 + "/s", "-1s", ""]),
    st.text(max_size=10),
)
_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), _ODD_NUMBERS, _ODD_TEXTS
)
_KEYS = st.sampled_from(
    [
        *("runtime", "service", "module", "entrypoint", "env_variables", "handlers"),
        *("app_engine_apis", "inbound_services", "instance_class", "version", "url"),
        *("static_dir", "static_files", "upload", "script", "login", "secure", "env"),
        *("automatic_scaling", "includes", "libraries", "mime_type", "expiration"),
        *("http_headers", "require_matching_file", "queue", "name", "rate", "mode"),
        *("bucket_size", "max_concurrent_requests", "retry_parameters", "acl"),
        *("task_retry_limit", "task_age_limit", "min_backoff_seconds", "target"),
        *("max_backoff_seconds", "max_doublings", "total_storage_limit", "x", "vm"),
    ]
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(_KEYS, inner, max_size=3)
    ),
    max_leaves=5,
)
# YAML that is not JSON
ODD_LINES = st.text("ab:-?[]{}&*!|>'\"%@`#,\n\t ~<=\x00é\u2028", max_size=40)


def _places(value: object) -> Iterator[tuple[Any, Any]]:
    """Yield each container in a value, with each of its keys or indexes."""
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


def _other_than(value: object) -> st.SearchStrategy[Any]:
    """Return values that replace this one, most of them of the same kind."""
    if isinstance(value, str):
        return weighted((2, _ODD_TEXTS), (1, _VALUES))
    if isinstance(value, int | float):
        return weighted((2, _ODD_NUMBERS), (1, _VALUES))
    return _VALUES


@st.composite
def with_one_odd(draw: st.DrawFn, files: st.SearchStrategy[File]) -> File:
    """Draw a file in which one value or key is changed, added or missing."""
    file = copy.deepcopy(draw(files))
    container, key = draw(st.sampled_from(list(_places(file))))
    change = draw(st.sampled_from(["value"] * 6 + ["key", "none", "more"]))
    if change == "value":
        container[key] = draw(_other_than(container[key]))
    elif change == "more" or isinstance(container, list):
        place = file if isinstance(container, list) else container
        place[draw(_KEYS)] = draw(_VALUES)
    elif change == "key":
        container[draw(_KEYS)] = container.pop(key)
    else:
        del container[key]
    return file


def as_yaml(file: File) -> str:
    """Return a file's text, with one line of JSON, which is YAML too, for each key."""
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in file.items())
