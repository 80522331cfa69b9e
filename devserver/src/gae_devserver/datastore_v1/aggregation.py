"""Counts, sums and averages over the results of a query."""

import math
from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any

from gae_devserver.datastore.encoding import DOUBLE, INTEGER, double_of
from gae_devserver.datastore.index_scan import Hit
from gae_devserver.datastore_v1.keys import check_name, is_reserved
from gae_devserver.datastore_v1.queries import ParsedQuery
from gae_devserver.rpc.errors import check

MAX_AGGREGATIONS = 5


def aggregated_properties(aggregations: Any) -> list[str]:
    """Check aggregations and return the properties that they read."""
    check(aggregations, "Aggregations can not be empty.")
    check(
        len(aggregations) <= MAX_AGGREGATIONS,
        "The maximum number of aggregations allowed in an aggregation query is"
        f" {MAX_AGGREGATIONS}. Received: {len(aggregations)}",
    )
    names = []
    for item in aggregations:
        if item.alias:
            check_name(item.alias, "property.name")
            check(
                not is_reserved(item.alias),
                f'The property.name "{item.alias}" is reserved.',
            )
        operator = item.WhichOneof("operator")
        check(operator, "Operator field in Aggregation is not set.")
        if operator == "count":
            check(
                item.count.up_to.value >= 0,
                "The `up_to` value in a COUNT aggregation must be greater than or"
                " equal to zero.",
            )
            continue
        name = getattr(item, operator).property.name
        check(name, "Empty aggregation field.")
        check_name(name, "property.name")
        check(
            not is_reserved(name),
            f"Aggregations are not supported for the property: {name}",
        )
        names.append(name)
    aliases = _aliases(aggregations)
    for alias in aliases:
        check(
            aliases.count(alias) == 1,
            f"Aggregation aliases contain duplicate alias: {alias}.",
        )
    return names


def check_base(query: ParsedQuery, names: Iterable[str]) -> None:
    """Check the query whose results are aggregated; `names` are the properties."""
    check(
        not is_reserved(query.kind),
        "Aggregation queries on reserved kinds are not supported.",
    )
    for name in names:
        check(
            not query.keys_only,
            "Aggregation over non-key properties is not supported for base query that"
            " only returns keys.",
        )
        check(
            not query.projection or name in query.projection,
            f"The aggregation property {name} is not present in the base query's"
            " projection.",
        )


def _aliases(aggregations: Any) -> list[str]:
    """Return the alias of each aggregation; those without one are numbered."""
    numbers = count(1)
    return [item.alias or f"property_{next(numbers)}" for item in aggregations]


def aggregate(hits: Iterator[Hit], aggregations: Any, into: Any) -> None:
    """Write the results of aggregations over `hits` into a map from alias to value."""
    found = list(hits)
    for item, alias in zip(aggregations, _aliases(aggregations), strict=True):
        value = into[alias]
        match item.WhichOneof("operator"):
            case "count":
                limit = item.count.up_to.value
                bounded = item.count.HasField("up_to")
                value.integer_value = min(len(found), limit) if bounded else len(found)
            case "sum":
                _write_sum(_numbers(found, item.sum.property.name), value)
            case "avg":
                _write_average(_numbers(found, item.avg.property.name), value)


def _numbers(hits: list[Hit], name: str) -> list[int | float]:
    keys = (hit.columns[name] for hit in hits)
    return [
        key[1] if key[0] == INTEGER else double_of(key[1])
        for key in keys
        if key[0] in (INTEGER, DOUBLE)
    ]


def _write_sum(numbers: list[int | float], into: Any) -> None:
    total = _total(numbers)
    if isinstance(total, int) and -(2**63) <= total < 2**63:
        into.integer_value = total
    else:
        into.double_value = float(total)


def _write_average(numbers: list[int | float], into: Any) -> None:
    if numbers:
        into.double_value = _total(numbers) / len(numbers)
    else:
        into.null_value = 0


def _total(numbers: list[int | float]) -> int | float:
    # Add integers as integers: as doubles, the largest ones would lose digits.
    integers = sum(number for number in numbers if isinstance(number, int))
    doubles = [number for number in numbers if isinstance(number, float)]
    if not doubles:
        return integers
    try:
        return math.fsum([*doubles, integers])
    except (OverflowError, ValueError):
        # The sum is too large for a double, or has infinities of both signs.
        return sum(doubles, float(integers))
