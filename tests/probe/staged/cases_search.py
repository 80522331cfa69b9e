"""Calls of search: each index holds the same four documents."""

import datetime
from functools import partial
from typing import Any

from google.appengine.api import search

VECTOR = [0.5, 1.0]
PRICES = search.FacetRange(start=2, end=4)


def document(number: int, **options: Any) -> search.Document:
    """Return a document with a field of each kind but vectors."""
    return search.Document(
        doc_id=f"d{number}",
        fields=[
            search.TextField("text", f"quick brown fox {number}", language="en"),
            search.HtmlField("html", f"<b>lazy</b> dog {number}"),
            search.AtomField("atom", f"Code {number}"),
            search.NumberField("number", number * 1.5),
            search.DateField("date", datetime.date(2024, 1, number)),
            search.GeoField("place", search.GeoPoint(10.0 + number, 20.0)),
            search.UntokenizedPrefixField("prefix", f"Hello World {number}"),
            search.TokenizedPrefixField("tokens", f"Hello World {number}"),
        ],
        facets=[
            search.AtomFacet("color", ("red", "blue")[number % 2]),
            search.NumberFacet("price", float(number)),
        ],
        rank=number,
        **options,
    )


def filled(name: str = "main") -> search.Index:
    """Return an index that holds the documents."""
    index = search.Index(name)
    index.put([document(number) for number in (1, 2, 3, 4)])
    return index


def found(query: Any, name: str = "main", **options: Any) -> Any:
    """Return how many documents a query finds, and which."""
    if options:
        query = search.Query(query, search.QueryOptions(**options))
    results = filled(name).search(query)
    return results.number_found, [result.doc_id for result in results]


def computed(expression: str) -> Any:
    """Return an expression of the first result."""
    named = search.FieldExpression("it", expression)
    return fields(returned_expressions=[named])[1]


def fields(**options: Any) -> Any:
    """Return the fields and expressions of the first result."""
    query = search.Query("fox", search.QueryOptions(limit=1, **options))
    (result,) = filled().search(query)
    return (
        sorted(field.name for field in result.fields),
        {item.name: str(item.value) for item in result.expressions},
    )


def by(expression: str, default: Any) -> search.SortExpression:
    """Return an expression to sort by."""
    return search.SortExpression(expression, default_value=default)


SORTED = search.SortOptions([by("embedding", 0)])


def ordered(expression: str, default: Any) -> Any:
    """Return the documents in the order of an expression."""
    options = search.SortOptions([by(expression, default)])
    return found("fox", sort_options=options)


def faceted(**options: Any) -> Any:
    """Return the facets that a query counts."""
    results = filled().search(search.Query("fox", **options))
    return {
        facet.name: {value.label: value.count for value in facet.values}
        for facet in sorted(results.facets, key=lambda facet: facet.name)
    }


def paged(**options: Any) -> Any:
    """Read page after page with a cursor."""
    cursor, index = search.Cursor(**options), filled()
    pages: list[Any] = []
    while cursor is not None and len(pages) < 5:
        chosen = search.QueryOptions(limit=3, cursor=cursor)
        results = index.search(search.Query("fox", chosen))
        pages.append([result.doc_id for result in results])
        cursor = results.cursor
        if options.get("per_result"):
            cursor = results.results[-1].cursor if results.results else None
    return pages


def stored(*made: Any, name: str = "put") -> Any:
    """Put documents; return the codes, and the fields that the first then has."""
    index = search.Index(name)
    results = index.put(made)
    first = index.get(results[0].id)
    return (
        [(result.code, result.id) for result in results if made[0].doc_id],
        {field.name: str(field.value) for field in first.fields},
    )


def one(field: Any, doc_id: str = "one") -> Any:
    """Put a document with one field."""
    return stored(search.Document(doc_id=doc_id, fields=[field]))


def with_vector(query: Any) -> Any:
    """Search an index in which one document has a vector."""
    index = search.Index("vectors")
    vector = search.VectorField("embedding", VECTOR)
    index.put(search.Document("v", [vector, search.TextField("text", "fox")]))
    return [result.doc_id for result in index.search(query)]


def deleted(*ids: Any) -> Any:
    """Delete documents; return the codes, and which are left."""
    index = filled("deleted")
    index.delete(ids)
    return [result.doc_id for result in index.get_range(ids_only=True)]


def ranged(**options: Any) -> Any:
    """Return the documents in a range."""
    return [result.doc_id for result in filled().get_range(**options)]


def schema(index: search.Index) -> Any:
    """Return the fields of an index."""
    found = search.get_indexes(fetch_schema=True, index_name_prefix=index.name)
    return {
        key: sorted(kinds) for key, kinds in sorted(found.results[0].schema.items())
    }


QUERIES = {
    "empty": "",
    "word": "fox",
    "not": "fox NOT 2",
    "unknown field": "nothing:fox",
    "stem": "~foxes",
    "atom": 'atom:"Code 2"',
    "atom word": "atom:Code",
    "date range": "date >= 2024-01-03",
    "date bad": "date > 2024-99-99",
    "html": "html:lazy",
    "prefix": 'prefix:"hello w"',
    "distance": "distance(place, geopoint(12, 20)) < 1000",
    "geopoint bad": "distance(place, geopoint(99, 20)) < 1000",
    "function unknown": "nothing(place) < 5",
    "bad parenthesis": "fox AND (",
    "bad operator": "AND",
}

CASES: dict[str, Any] = {
    **{f"query {name}": partial(found, text) for name, text in QUERIES.items()},
    "query none": lambda: filled().search(None),
    "query number": lambda: filled().search(5),
    "returned_fields": lambda: fields(returned_fields=["text", "nothing"]),
    "snippets": lambda: fields(snippeted_fields=["text"]),
    **{
        f"expression {text}": partial(computed, text)
        for text in (
            'snippet("fox", text)',
            "number * 2 + 1",
            "max(number, 5)",
            "distance(place, geopoint(14, 20))",
            "count(text)",
            "nothing + 1",
            "switch(1, 2, 3)",
            "1 / 0",
            "log(0)",
            "pow(10, 1000)",
            "abs(text)",
        )
    },
    "sort number": lambda: ordered("number", 0),
    "sort date": lambda: ordered("date", datetime.date(2000, 1, 1)),
    "sort distance": lambda: ordered("distance(place, geopoint(12, 20))", 0),
    "sort missing field": lambda: ordered("nothing", 0),
    "sort by score": lambda: sorted(
        found(
            "fox", sort_options=search.SortOptions(match_scorer=search.MatchScorer())
        )[1]
    ),
    "facets discovered": lambda: faceted(enable_facet_discovery=True),
    "facets": lambda: faceted(return_facets=["color"]),
    "facets of values": lambda: faceted(
        return_facets=[search.FacetRequest("color", values=["red"])]
    ),
    "facets of ranges": lambda: faceted(
        return_facets=[
            search.FacetRequest("price", ranges=[search.FacetRange(start=2, end=4)])
        ]
    ),
    "facets limited": lambda: faceted(
        enable_facet_discovery=True,
        facet_options=search.FacetOptions(discovery_limit=1, depth=2),
    ),
    "facets refined": lambda: faceted(
        return_facets=["price"],
        facet_refinements=[search.FacetRefinement("color", value="red")],
    ),
    "facets bad refinement": lambda: faceted(facet_refinements=["garbage"]),
    "cursor": paged,
    "cursor of another": lambda: found(
        "fox", cursor=search.Cursor(web_safe_string="False:nothing")
    ),
    "async": lambda: [
        len(search.Index("a").put_async(document(1)).get_result()),
        search.Index("a").get_async("d1").get_result().doc_id,
        search.Index("a").search_async("fox").get_result().number_found,
        len(search.Index("a").get_range_async().get_result().results),
        len(search.get_indexes_async(index_name_prefix="a").get_result().results),
        len(search.Index("a").delete_async("d1").get_result()),
    ],
    "put text": lambda: one(search.TextField("f", "grün ☃")),
    "put text 1 MB": lambda: one(search.TextField("f", "x" * (1 << 20)))[0],
    "put date with time": lambda: one(
        search.DateField("f", datetime.datetime(2024, 1, 1, 2, 3, 4))
    ),
    "put vector": lambda: one(search.VectorField("f", VECTOR))[0],
    "put vector empty": lambda: one(search.VectorField("f", []))[0],
    "put id reserved": lambda: one(search.TextField("f", "x"), doc_id="__a__"),
    "put 200": lambda: len(
        search.Index("many").put([document(number % 30 + 1) for number in range(200)])
    ),
    "vector and text": lambda: with_vector("fox"),
    "vector and field": lambda: with_vector("text:fox"),
    "vector and all": lambda: with_vector(""),
    "vector field": lambda: with_vector("embedding:1"),
    "vector compared": lambda: with_vector("embedding > 1"),
    "get": lambda: filled().get("d1").doc_id,
    "get missing": lambda: filled().get("nothing"),
    "vector sorted": lambda: with_vector(
        search.Query("", search.QueryOptions(sort_options=SORTED))
    ),
    "get vector": lambda: [
        with_vector(""),
        search.Index("vectors").get("v").field("embedding").value,
    ],
    "range": ranged,
    "range after": lambda: ranged(start_id="d2", include_start_object=False),
    "delete": lambda: deleted("d1", "d2"),
    "delete missing": lambda: deleted("nothing"),
    "delete_schema": lambda: [
        filled("schemas").delete_schema(),
        search.Index("schemas").get("d1").doc_id,
    ],
    "schema": lambda: schema(filled("schema")),
    "indexes": lambda: [
        filled("listed").name,
        [index.name for index in search.get_indexes(index_name_prefix="listed")],
    ],
    "indexes of namespace": lambda: [
        search.Index("there", namespace="ns").put(document(1))[0].code,
        [index.name for index in search.get_indexes(namespace="ns")],
        search.Index("there").get("d1"),
    ],
    "indexes from": lambda: [
        index.name
        for index in search.get_indexes(
            start_index_name="listed", include_start_index=False, limit=1
        )
    ],
    "storage": lambda: [filled().storage_limit, filled().storage_usage is not None],
    "index missing": lambda: search.Index("never").search("fox").number_found,
}

GROUPS = {"search": CASES}
