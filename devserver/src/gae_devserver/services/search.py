"""The SDK's stub of search: fails less often, and never without an error."""

import bisect
import operator
import re
from typing import Any

from google.appengine.api.search import query_parser
from google.appengine.api.search.ExpressionParser import SWITCH
from google.appengine.api.search.QueryParser import VALUE
from google.appengine.api.search.simple_search_stub import SearchServiceStub
from google.appengine.api.search.stub import document_matcher, simple_tokenizer
from google.appengine.api.search.stub.expression_evaluator import Parse
from google.appengine.datastore import document_pb2

# The stub uses this name, which protobuf 4 removed, where it refuses to match a vector.
_FIELD = document_pb2.FieldValue
_FIELD.ContentType_Name = _FIELD.ContentType.Name
_OF_WORDS = {_FIELD.TEXT, _FIELD.HTML, _FIELD.TOKENIZED_PREFIX}


class _Matcher(document_matcher.DocumentMatcher):  # type: ignore[misc]
    """Finds texts by what is several words to the index, such as ann@example.com."""

    def _MatchTextField(self, field: Any, match: Any, document: Any) -> bool:
        self._document = document
        if (
            field.value.type in _OF_WORDS
            and match.getType() == VALUE
            and not query_parser.IsPhrase(match)
        ):
            words = self._parser.TokenizeText(query_parser.GetQueryNodeText(match))
            if len(words) > 1:
                return all(self._has(field.name, word) for word in words)
        return bool(super()._MatchTextField(field, match, document))

    def _has(self, field: str, word: Any) -> bool:
        return bool(self._PostingsForFieldToken(field, word.chars))

    def _PostingsForFieldToken(self, field: Any, value: Any) -> list[Any]:
        """Return the posting of the document that is being matched.

        The stub looks for it among those of all documents, and does so for each one:
        with 10,000 documents, a query takes 15 s.
        """
        postings = super()._PostingsForFieldToken(field, value)
        name = self._document.id
        at = bisect.bisect_left(postings, name, key=operator.attrgetter("doc_id"))
        return [posting for posting in postings[at : at + 1] if posting.doc_id == name]


# The stub takes both from these modules.
document_matcher.DocumentMatcher = _Matcher
_separators = simple_tokenizer._WORD_SEPARATOR_RE.pattern
simple_tokenizer._WORD_SEPARATOR_RE = re.compile(f"{_separators}|-")


class Search(SearchServiceStub):  # type: ignore[misc]
    """Searches documents with vectors, and counts facets in ranges without a label."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        """How many calls there were: it shows whether anything can have changed."""

    def MakeSyncCall(self, *args: Any) -> None:
        """Carry out a call."""
        self.calls += 1
        super().MakeSyncCall(*args)

    def indexes(self) -> dict[tuple[str, str], Any]:
        """Return the stub's indexes by namespace and name."""
        # a lookup leaves empty namespaces
        return {
            (namespace, name): index
            for namespace, indexes in self._SearchServiceStub__indexes.items()
            for name, index in indexes.items()
        }

    def delete_index(self, namespace: str, name: str) -> None:
        """Delete an index with its documents, which no call of an app can do."""
        self.calls += 1
        del self._SearchServiceStub__indexes[namespace][name]

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
