"""Shows in one line what an API call asks for, from its encoded request."""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError

from gae_devserver.cloud_tasks import messages as cloud_tasks
from gae_devserver.console.requests.query_texts import (
    v1_key,
    v1_query,
    v3_key,
    v3_query,
)
from gae_devserver.datastore_v1 import messages as datastore_v1
from gae_devserver.services import rpc_table
from gae_devserver.tasks.function_names import function_name

_MOST = 3
"""Keys and names that are shown of a call."""
_MAX_TEXT = 500


class CallText(NamedTuple):
    """What a call asks for."""

    text: str
    """Such as "Counter 'a'"."""
    about: str = ""
    """What similar calls have in common, if this one is for a single item: a kind."""


NOTHING = CallText("")


def describe(name: str, request: bytes) -> CallText:
    """Return what a call asks for; `NOTHING` where it is not known."""
    if not request:
        return NOTHING
    show = _SHOW.get(name)
    if show is None:
        return NOTHING
    try:
        text, about = show(_request_class(name).FromString(request))
    except (DecodeError, LookupError, ValueError):
        # the app may send anything
        return NOTHING
    return CallText(text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}…", about)


@functools.cache
def _request_class(name: str) -> Any:
    api, _, method = name.partition(".")
    if api == "Datastore":
        return getattr(datastore_v1.datastore, f"{method}Request").pb()
    if api == "CloudTasks":
        return cloud_tasks.request_class(method, "v2")
    return rpc_table.message_classes(api, method)[0]


def _listed(texts: Sequence[str], about: Iterable[str] = ()) -> CallText:
    """Return some of the items of a call."""
    if len(texts) == 1:
        return CallText(texts[0], *about)
    more = f" and {len(texts) - _MOST} more" if len(texts) > _MOST else ""
    return CallText(f"{', '.join(texts[:_MOST])}{more}")


def _v3_keys(elements: Sequence[Sequence[Any]]) -> CallText:
    kinds = [_text(path[-1].type) for path in elements if path][:1]
    return _listed([v3_key(path) for path in elements], kinds)


def _v1_keys(keys: Sequence[Any]) -> CallText:
    kinds = [key.path[-1].kind for key in keys if key.path][:1]
    return _listed([v1_key(key) for key in keys], kinds)


def _v1_commit(request: Any) -> CallText:
    texts, keys = [], []
    for mutation in request.mutations:
        operation = mutation.WhichOneof("operation")
        value = getattr(mutation, operation or "upsert")
        keys.append(value if operation == "delete" else value.key)
        texts.append(f"{operation} {v1_key(keys[-1])}")
    return _listed(texts, [key.path[-1].kind for key in keys if key.path][:1])


def _v1_aggregation(request: Any) -> CallText:
    asked = request.aggregation_query
    names = [item.WhichOneof("operator") or "?" for item in asked.aggregations]
    return CallText(f"{', '.join(names)} of {v1_query(asked.nested_query)}")


def _names(names: Sequence[bytes]) -> CallText:
    return _listed([repr(_text(name)) for name in names], ["one key each"])


def _added(tasks: Sequence[Any]) -> CallText:
    """Return what is added to queues: for one task, its function or its URL."""
    queues = list(dict.fromkeys(_text(task.queue_name) for task in tasks))
    to = f"to the queue {', '.join(queues[:_MOST])}"
    if len(tasks) != 1:
        return CallText(f"{_tasks(len(tasks))} {to}")
    (task,) = tasks
    return CallText(f"{function_name(task.body) or _text(task.url)} {to}", queues[0])


def _created(request: Any) -> CallText:
    queue = request.parent.rpartition("/")[2]
    task = request.task
    url = task.http_request.url or task.app_engine_http_request.relative_uri
    return CallText(f"{url} to the queue {queue}", queue)


def _tasks(count: int) -> str:
    return "1 task" if count == 1 else f"{count} tasks"


def _fetched(request: Any) -> CallText:
    method = type(request).RequestMethod.Name(request.Method)
    url = _text(request.Url)
    return CallText(f"{method} {url}", url)


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _queue_of(request: Any) -> CallText:
    return CallText(_text(request.queue_name))


_SHOW: dict[str, Callable[[Any], CallText]] = {
    "datastore_v3.Get": lambda call: _v3_keys([key.path.element for key in call.key]),
    "datastore_v3.Delete": lambda call: _v3_keys(
        [key.path.element for key in call.key]
    ),
    "datastore_v3.Put": lambda call: _v3_keys(
        [entity.key.path.element for entity in call.entity]
    ),
    "datastore_v3.RunQuery": lambda call: CallText(v3_query(call), _text(call.kind)),
    "Datastore.Lookup": lambda call: _v1_keys(call.keys),
    "Datastore.AllocateIds": lambda call: _v1_keys(call.keys),
    "Datastore.ReserveIds": lambda call: _v1_keys(call.keys),
    "Datastore.Commit": _v1_commit,
    "Datastore.RunQuery": lambda call: CallText(
        v1_query(call.query), call.query.kind[0].name if call.query.kind else ""
    ),
    "Datastore.RunAggregationQuery": _v1_aggregation,
    "memcache.Get": lambda call: _names(call.key),
    "memcache.Increment": lambda call: _names([call.key]),
    **dict.fromkeys(
        ("memcache.Set", "memcache.Delete", "memcache.BatchIncrement"),
        lambda call: _names([item.key for item in call.item]),
    ),
    "taskqueue.Add": lambda call: _added([call]),
    "taskqueue.BulkAdd": lambda call: _added(call.add_request),
    **dict.fromkeys(
        (
            "taskqueue.Delete",
            "taskqueue.PurgeQueue",
            "taskqueue.QueryAndOwnTasks",
            "taskqueue.ModifyTaskLease",
        ),
        _queue_of,
    ),
    "CloudTasks.CreateTask": _created,
    "CloudTasks.BatchCreateTasks": lambda call: CallText(
        f"{_tasks(len(call.requests))} to the queue {call.parent.rpartition('/')[2]}"
    ),
    **{
        f"CloudTasks.{rpc}": lambda call: CallText(call.name)
        for rpc in ("GetTask", "RunTask", "DeleteTask", "GetQueue", "PurgeQueue")
    },
    "urlfetch.Fetch": _fetched,
    "mail.Send": lambda call: CallText(
        f"{_text(call.Subject)!r} to {', '.join(map(_text, call.To))}"
    ),
    "search.Search": lambda call: CallText(
        f"{_text(call.params.query)!r} in {_text(call.params.index_spec.name)}"
    ),
    "search.IndexDocument": lambda call: CallText(
        f"{len(call.params.document)} in {_text(call.params.index_spec.name)}"
    ),
}
"""Each call whose request is shown."""
