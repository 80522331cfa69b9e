"""What the API calls of one request show: sums, repetitions, and a waterfall."""

import dataclasses
import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from gae_devserver.activity.records import ApiCall
from gae_devserver.console.frame.formats import milliseconds
from gae_devserver.console.requests.call_texts import describe

_SIMILAR = 5
"""So many calls for one item each could be one call for all of them."""
_SAME = 3
"""So many calls with one request deserve a look."""
_MAX_ROWS = 40
_TICKS = 6
_TOP, _ROW = 42, 32
"""Pixels of a waterfall: where the first bars are, and from one row to the next."""
_SIDE = 30
"""Percent of the width: a label that begins there has enough place."""
_AT_ONCE = {
    "datastore_v3.Get": "ndb.get_multi(keys) reads all of them in one call.",
    "datastore_v3.Put": "ndb.put_multi(entities) writes all of them in one call.",
    "datastore_v3.Delete": "ndb.delete_multi(keys) deletes all of them in one call.",
    "Datastore.Lookup": "ndb.get_multi(keys) reads all of them in one call.",
    "Datastore.Commit": "ndb.put_multi(entities) writes all of them in one call.",
    "memcache.Get": "memcache.get_multi(keys) reads all of them in one call.",
    "memcache.Set": "memcache.set_multi(values) writes all of them in one call.",
    "memcache.Delete": "memcache.delete_multi(keys) deletes all of them in one call.",
    "taskqueue.Add": "Queue.add() takes a list of tasks.",
    "taskqueue.BulkAdd": "Queue.add() takes a list of tasks.",
    "CloudTasks.CreateTask": "batch_create_tasks() creates all of them in one call.",
    "datastore_v3.RunQuery": "Perhaps one query, or get_multi, finds all of them.",
    "Datastore.RunQuery": "Perhaps one query, or get_multi, finds all of them.",
}
# of these, a new one is wanted each time
_NEVER_THE_SAME = frozenset(
    {
        "datastore_v3.AllocateIds",
        "datastore_v3.BeginTransaction",
        "Datastore.AllocateIds",
        "Datastore.BeginTransaction",
    }
)


def describe_calls(calls: Sequence[ApiCall]) -> list[dict[str, Any]]:
    """Return each call with what it asks for."""
    return [
        {
            "name": call.name,
            "began": call.began,
            "seconds": call.seconds,
            "error": call.error,
            "request": describe(call.name, call.request).text,
        }
        for call in calls
    ]


def sums(calls: Sequence[ApiCall]) -> list[dict[str, Any]]:
    """Return how often each API was called and how long that took, the slowest first.

    Calls at the same time count in full.
    """
    found: dict[str, list[ApiCall]] = defaultdict(list)
    for call in calls:
        found[call.name].append(call)
    described = [
        {
            "name": name,
            "calls": len(of_name),
            "failed": sum(bool(call.error) for call in of_name),
            "seconds": sum(call.seconds for call in of_name),
        }
        for name, of_name in found.items()
    ]
    return sorted(described, key=lambda item: -float(str(item["seconds"])))


def repeated(calls: Sequence[ApiCall]) -> list[dict[str, Any]]:
    """Return the calls that were made again and again, and what could be in place."""
    similar: dict[tuple[str, str], list[ApiCall]] = defaultdict(list)
    same: dict[tuple[str, bytes], list[ApiCall]] = defaultdict(list)
    for call in calls:
        about = describe(call.name, call.request).about
        if about and call.name in _AT_ONCE:
            similar[call.name, about].append(call)
        if call.request and call.name not in _NEVER_THE_SAME:
            same[call.name, call.request].append(call)
    found = [
        _repeated(of_one, about, _AT_ONCE[name])
        for (name, about), of_one in similar.items()
        if len(of_one) >= _SIMILAR and len({call.request for call in of_one}) > 1
    ]
    found += [
        _repeated(of_one, describe(*key).text, "Each has the same request.")
        for key, of_one in same.items()
        if len(of_one) >= _SAME
    ]
    return found


def _repeated(calls: Sequence[ApiCall], about: str, advice: str) -> dict[str, Any]:
    return {
        "name": calls[0].name,
        "about": about,
        "times": len(calls),
        "seconds": sum(call.seconds for call in calls),
        "advice": advice,
    }


@dataclasses.dataclass(frozen=True)
class Bar:
    """A call in a waterfall: where it is, in percent of the width."""

    x: float
    width: float
    failed: bool
    title: str


@dataclasses.dataclass(frozen=True)
class Row:
    """Calls of one API that follow each other, and the label above them."""

    y: int
    bars: list[Bar]
    label: str

    @property
    def anchor(self) -> str:
        """Which part of the label is at `label_x`, as SVG calls it."""
        if self.bars[0].x <= _SIDE:
            return "start"
        return "end" if self._end >= 100 - _SIDE else "middle"

    @property
    def label_x(self) -> float:
        """Where the label is, so that it fits also on a narrow screen."""
        return {"start": self.bars[0].x, "end": self._end, "middle": 50}[self.anchor]

    @property
    def _end(self) -> float:
        return min(100.0, max(bar.x + bar.width for bar in self.bars))


def waterfall(calls: Sequence[ApiCall], seconds: float) -> dict[str, Any]:
    """Return the rows of a waterfall of a request that took `seconds`, and its scale.

    Calls of one API that follow each other share a row. With too many rows, all calls
    of an API do.
    """
    ordered = sorted(calls, key=lambda call: call.began)
    whole = max([seconds, *(call.began + call.seconds for call in calls)]) or 1e-6
    groups: list[tuple[str, list[ApiCall]]] = []
    for call in ordered:
        if groups and groups[-1][0] == call.name:
            groups[-1][1].append(call)
        else:
            groups.append((call.name, [call]))
    if len(groups) > _MAX_ROWS:
        by_name: dict[str, list[ApiCall]] = defaultdict(list)
        for call in ordered:
            by_name[call.name].append(call)
        groups = list(by_name.items())
    rows = [
        Row(
            _TOP + _ROW * number,
            [_bar(call, whole) for call in of_row],
            _label(name, of_row),
        )
        for number, (name, of_row) in enumerate(groups)
    ]
    step = _step(whole)
    ticks = [
        {
            "x": round(100 * number * step / whole, 3),
            "label": f"{number * step * 1000:g} ms",
        }
        for number in range(math.floor(whole / step) + 1)
    ]
    return {
        "rows": rows,
        "ticks": ticks,
        "end": round(100 * seconds / whole, 3),
        "height": _TOP + _ROW * len(rows),
    }


def _label(name: str, calls: Sequence[ApiCall]) -> str:
    times = f", {len(calls)} calls" if len(calls) > 1 else ""
    return f"{name}{times}, {milliseconds(sum(call.seconds for call in calls))}"


def _bar(call: ApiCall, whole: float) -> Bar:
    title = f"{call.name}, {milliseconds(call.seconds)}"
    if call.error:
        title += f": {call.error}"
    x, width = 100 * max(call.began, 0) / whole, 100 * call.seconds / whole
    return Bar(round(x, 3), round(width, 3), bool(call.error), title)


def _step(whole: float) -> float:
    """Return the distance of the lines of a scale: 1, 2 or 5 and zeros."""
    power: float = 10.0 ** math.floor(math.log10(whole / _TICKS))
    return next(
        power * times for times in (1, 2, 5, 10) if power * times * _TICKS >= whole
    )
