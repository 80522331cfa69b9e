"""The SDK's stub of search: fails less often, and never without an error."""

from typing import Any

from google.appengine.api.search.ExpressionParser import SWITCH
from google.appengine.api.search.simple_search_stub import SearchServiceStub
from google.appengine.api.search.stub.expression_evaluator import Parse
from google.appengine.datastore import document_pb2

# The stub uses this name, which protobuf 4 removed, where it refuses to match a vector.
_FIELD = document_pb2.FieldValue
_FIELD.ContentType_Name = _FIELD.ContentType.Name


class Search(SearchServiceStub):  # type: ignore[misc]
    """Searches documents with vectors, and counts facets in ranges without a label."""

    def _Dynamic_Search(self, request: Any, response: Any) -> None:
        for facet in request.params.include_facet:
            for bounds in facet.params.range:
                if not bounds.HasField("name"):
                    # The stub's own code for this label fails.
                    bounds.name = f"[{_end(bounds, 'start')},{_end(bounds, 'end')})"
        for expression in (
            *(each.expression for each in request.params.field_spec.expression),
            *(each.sort_expression for each in request.params.sort_spec),
        ):
            # The stub would log a warning and leave out the expression.
            if _has_switch(Parse(expression)):
                raise NotImplementedError(f"switch() in {expression!r}")
        try:
            super()._Dynamic_Search(request, response)
        except (ArithmeticError, TypeError, ValueError) as error:
            # of an expression such as `1 / price`, or one of a vector
            raise NotImplementedError(str(error)) from error


def _has_switch(node: Any) -> bool:
    return node.getType() == SWITCH or any(map(_has_switch, node.children))


def _end(bounds: Any, name: str) -> str:
    if bounds.HasField(name):
        return repr(float(getattr(bounds, name)))
    return "-Infinity" if name == "start" else "Infinity"
