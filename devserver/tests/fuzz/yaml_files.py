"""Contents of app.yaml and the files beside it: right, or with one odd thing."""

import copy
import json
import math
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st
from ruamel.yaml import YAML

File = dict[str, Any]


def _read(text: str) -> list[File]:
    return list(YAML(typ="safe").load_all(text))


APP_YAMLS: list[File] = _read(
    r"""
runtime: python3
handlers: [{url: /.*, script: auto}]
---
runtime: python313
service: a
version: one
entrypoint: exec gunicorn main:app
env_variables: {A: a, a_b: "\x01é\u2028", PORT: "1", _: ""}
app_engine_apis: true
inbound_services: [warmup, mail]
instance_class: F4_1G
default_expiration: 1d 2h
threadsafe: false
automatic_scaling: {max_instances: 3, target_cpu_utilization: 0.6}
error_handlers: [{file: error.html}]
builtins: [{deferred: "on"}]
vpc_access_connector: {name: projects/p/connectors/c}
skip_files: [^a$]
handlers:
- url: /s
  static_dir: assets/static/
  mime_type: text/x-mine
  expiration: 5m 30
  http_headers: {X-Mine: a, Cache-Control: private}
  require_matching_file: true
- {url: /a, script: a.b, login: admin, secure: always}
---
runtime: python311
basic_scaling: {max_instances: 2, idle_timeout: 10m}
handlers:
- {url: '/i/(.*\.(gif|png))', static_files: 'images/\2/\1', upload: images/.*}
- {url: '/x(?P<n>.)', static_files: 's/\g<n>', upload: s/.*}
- {url: /y, static_files: index.html, upload: index.html}
"""
)
"""Contents of app.yaml that App Engine accepts."""
QUEUE_YAMLS: list[File] = _read(
    """
total_storage_limit: 1.5G
queue:
- {name: default, rate: 5/s}
- {name: held, rate: "0", mode: push}
- name: other
  rate: 1.5/m
  bucket_size: 100
  max_concurrent_requests: 1
  target: a
  retry_parameters:
    task_retry_limit: 20
    task_age_limit: 1.5d
    min_backoff_seconds: 0.1
    max_backoff_seconds: 3600.5
    max_doublings: 16
---
queue:
- {name: B, mode: pull}
- {name: a-1, mode: pull, acl: [{user_email: a@b.test}, {writer_email: c@d.test}]}
"""
)
"""Contents of queue.yaml that App Engine accepts."""
CRON_YAMLS: list[File] = _read(
    """
cron:
- {url: /a, schedule: "every 5 minutes from 9:00 to 17:00"}
- url: /b
  schedule: 1st,third mon of sep,oct 17:00
  description: text
  timezone: Europe/Berlin
  target: default
  attempt_deadline: 30.5s
  retry_parameters:
    job_retry_limit: 3
    job_age_limit: 1.5d
    min_backoff_seconds: 0.1
    max_backoff_seconds: 3600.5
    max_doublings: 16
"""
)
"""Contents of cron.yaml that App Engine accepts."""
INDEX_YAMLS: list[File] = _read(
    """
indexes:
- kind: A
  ancestor: true
  properties:
  - name: b
  - {name: c, direction: desc}
- {kind: a-1, properties: [{name: __key__, direction: desc}]}
- {kind: B, properties: [{name: x}, {name: y, mode: geospatial}]}
"""
)
"""Contents of index.yaml that App Engine accepts."""
DISPATCH_YAMLS: list[File] = _read(
    """
application: a-project
dispatch:
- {url: "*/favicon.ico", service: default}
- {url: "*.a-1.b.test/*", service: a-1}
- {url: "*-a.test/a*", module: b}
---
dispatch:
- {url: example.com/, service: default}
"""
)
"""Contents of dispatch.yaml that App Engine accepts."""


def _places(value: object) -> Iterator[tuple[Any, Any]]:
    """Yield each container in a value, with each of its keys or indexes."""
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


_ODD_NUMBERS: st.SearchStrategy[float] = st.one_of(
    st.sampled_from([0, -1, 1, 2**31, 99999999999, -(2**63), 10**30]),
    st.sampled_from([0.5, -0.0, 1e300, math.nan, math.inf, -math.inf]),
)
_ODD_TEXTS = st.one_of(
    st.sampled_from(["default", "push", "pull", "5/s", "0", "-1/s", "10M", "1d", "~"]),
    st.sampled_from(["/.*", "(", "static", "../x", "auto", "required", "999999999"]),
    st.sampled_from(["/etc", "s/../..", r"s/\2", r"s/\g<n>", "(?P<n>x", "a\0b", "*"]),
    st.sampled_from(["1/s/s", "1e9/s", "1/x", "0x1/s", "python27", "a" * 600, "5"]),
    st.sampled_from(["infs", "nans", "9" * 400 + "d", "9" * 400 + "/s", "-1s", ""]),
    st.sampled_from(["*/a*", "B.test/*", "a" * 60 + "_b/", "1.2.3.4/", "*b.test/a"]),
    st.text(max_size=10),
)
_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), _ODD_NUMBERS, _ODD_TEXTS
)
_KNOWN = {str(key) for _, key in _places([*APP_YAMLS, *QUEUE_YAMLS])}
_KEYS = st.sampled_from(sorted(_KNOWN | {"env", "includes", "libraries", "vm", "x"}))
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(_KEYS, inner, max_size=3)
    ),
    max_leaves=5,
)
# YAML that is not JSON
ODD_LINES = st.text("ab:-?[]{}&*!|>'\"%@`#,\n\t ~<=\x00é\u2028", max_size=40)


def as_yaml(file: File) -> str:
    """Return a file's text, with one line of JSON, which is YAML too, for each key."""
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in file.items())


def _other_than(value: object) -> st.SearchStrategy[Any]:
    """Return values that replace this one, many of them of the same kind."""
    if isinstance(value, str):
        return st.one_of(_ODD_TEXTS, _VALUES)
    if isinstance(value, int | float):
        return st.one_of(_ODD_NUMBERS, _VALUES)
    return _VALUES


@st.composite
def variants(draw: st.DrawFn, files: list[File]) -> str:
    """Draw a file's text: one value or key is changed, added or missing, or a line."""
    file = copy.deepcopy(draw(st.sampled_from(files)))
    container, key = draw(st.sampled_from(list(_places(file))))
    change = draw(st.sampled_from(["value"] * 3 + ["key", "none", "more", "lines"]))
    if change == "lines":
        return as_yaml(file) + draw(ODD_LINES)
    if change == "value":
        container[key] = draw(_other_than(container[key]))
    elif change == "none":
        del container[key]
    elif isinstance(container, list):
        container.append(draw(_VALUES))
    else:
        container[draw(_KEYS)] = (
            container.pop(key) if change == "key" else draw(_VALUES)
        )
    return as_yaml(file)
