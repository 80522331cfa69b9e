"""The page of memcache: its statistics and items, and what changes them."""

import base64
import codecs
import heapq
import math
from collections.abc import Hashable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

from aiohttp import web
from google.appengine.api import memcache
from google.appengine.api.memcache import memcache_service_pb2 as pb

from gae_devserver.clock import Clock
from gae_devserver.console.frame import bodies, downloads
from gae_devserver.console.frame.answers import show, wants_html
from gae_devserver.console.frame.turns import in_turns
from gae_devserver.http.server import read_body
from gae_devserver.services.services import Services

_PAGE = 100
_SHOWN = 1000
"""Characters of a value in the list."""
_SHOWN_ALONE = 100_000
_TYPES = {
    memcache.TYPE_STR: "bytes",
    memcache.TYPE_UNICODE: "text",
    memcache.TYPE_PICKLED: "pickled",
    memcache.TYPE_INT: "integer",
    memcache.TYPE_LONG: "integer",
    memcache.TYPE_BOOL: "boolean",
}
_EXAMPLE = '{"key": "greeting", "value": "Hello"}'


class MemcacheRoutes:
    """Shows, sets and deletes items; flushes all."""

    def __init__(self, services: Services, clock: Clock) -> None:
        self._services = services
        self._clock = clock

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/memcache", self._list),
            web.get("/memcache/item", self._show),
            web.get("/memcache/item/value", self._download),
            web.put("/memcache/item", self._set),
            web.delete("/memcache/item", self._delete),
            web.post("/memcache/flush", self._flush),
        ]

    def revisions(self) -> Mapping[str, Hashable]:
        """Return what changes with each call of the app."""
        cache = self._services.used_stub("memcache")
        return {"memcache": cache and (id(cache), cache.calls)}

    async def _list(self, request: web.Request) -> web.StreamResponse:
        cache = self._services.used_stub("memcache")
        limit = bodies.limit_in(request.query, _PAGE)
        after = _place_in(request.query.get("cursor", ""))
        find = request.query.get("find", "")
        found = [] if cache is None else await _matches(cache, find, after)
        page = heapq.nsmallest(limit + 1, found, key=_place)
        items = [self._describe(entry) for entry in page[:limit]]
        cursor = None
        if len(page) > limit:
            namespace, key = _place(page[limit - 1])
            cursor = bodies.cursor_of(namespace.encode() + b"\0" + key)
        data = {
            "statistics": self._statistics(cache),
            "items": items,
            "cursor": cursor,
            "find": find,
        }
        return show(request, data, "memcache.html")

    def _statistics(self, cache: Any) -> dict[str, int]:
        response = pb.MemcacheStatsResponse()
        if cache is not None:
            # not a call, which would count as a change
            cache._Dynamic_Stats(pb.MemcacheStatsRequest(), response)
        stats = response.stats
        return {
            "hits": stats.hits,
            "misses": stats.misses,
            "items": stats.items,
            "bytes": stats.bytes,
            "oldest_age": stats.oldest_item_age,
        }

    async def _show(self, request: web.Request) -> web.StreamResponse:
        entry = self._entry(*_names_in(request, {}))
        data = self._describe(entry, _SHOWN_ALONE if wants_html(request) else None)
        data |= {"content": base64.b64encode(entry.value).decode()}
        return show(request, data, "memcache_item.html")

    async def _download(self, request: web.Request) -> web.Response:
        entry = self._entry(*_names_in(request, {}))
        return downloads.attachment(entry.value, len(entry.value), _text(entry.key))

    async def _set(self, request: web.Request) -> web.StreamResponse:
        fields = bodies.fields_in(await read_body(request), _EXAMPLE)
        namespace, key = _names_in(request, fields)
        if "value" not in fields:
            raise _bad("'value' is missing")
        value, flags = _encoded(fields["value"], fields.get("type"))
        cache = self._services.used_stub("memcache")
        old = cache and cache.entry(namespace, key)
        item = pb.MemcacheSetRequest.Item(key=key, value=value, flags=flags)
        if old and old.will_expire:
            item.expiration_time = math.ceil(old.expiration_time)
        set_request = pb.MemcacheSetRequest(item=[item], name_space=namespace)
        cache = self._services.stub("memcache")
        _call(cache, "Set", set_request, pb.MemcacheSetResponse())
        described = self._describe(cache.entry(namespace, key))
        return web.json_response(described)

    async def _delete(self, request: web.Request) -> web.StreamResponse:
        entry = self._entry(*_names_in(request, {}))
        message = pb.MemcacheDeleteRequest(name_space=entry.namespace)
        message.item.add(key=entry.key)
        cache = self._services.stub("memcache")
        _call(cache, "Delete", message, pb.MemcacheDeleteResponse())
        return web.json_response({"deleted": True})

    async def _flush(self, request: web.Request) -> web.StreamResponse:
        flushed = 0
        if (cache := self._services.used_stub("memcache")) is not None:
            flushed = sum(1 for _ in cache.entries())
            cache.flush()
        return web.json_response({"flushed": flushed})

    def _entry(self, namespace: str, key: bytes) -> Any:
        cache = self._services.used_stub("memcache")
        entry = cache and cache.entry(namespace, key)
        if not entry:
            raise web.HTTPNotFound(
                text=f"There is no item {_text(key)!r} in the namespace {namespace!r}."
            )
        return entry

    def _describe(self, entry: Any, shown: int | None = _SHOWN) -> dict[str, Any]:
        kind = _type_of(entry.flags)
        value = None if kind == "pickled" else _readable(entry.value, shown)
        expires = entry.expiration_time if entry.will_expire else None
        names = urlencode({"namespace": entry.namespace, "key": entry.key})
        return {
            "namespace": entry.namespace,
            "key": _text(entry.key),
            "url": f"/memcache/item?{names}",
            "value_url": f"/memcache/item/value?{names}",
            "type": kind,
            "size": len(entry.value),
            "value": value,
            # its characters are at least as many bytes
            "is_cut": value is not None and len(value.encode()) < len(entry.value),
            "expires": expires,
            "expires_in": expires and expires - self._clock.now(),
        }


def _place(entry: Any) -> tuple[str, bytes]:
    return entry.namespace, entry.key


async def _matches(cache: Any, find: str, after: tuple[str, bytes]) -> list[Any]:
    """Return the entries behind a place in which a text is."""
    wanted = find.encode(errors="replace")
    return [
        entry
        async for entry in in_turns(list(cache.entries()))
        if _place(entry) > after
        and (
            not find
            or wanted in entry.key
            or find in entry.namespace
            or wanted in entry.value
        )
    ]


def _call(cache: Any, method: str, request: Any, response: Any) -> None:
    cache.MakeSyncCall("memcache", method, request, response)


def _type_of(flags: int) -> str:
    if flags & memcache.FLAG_COMPRESSED:
        return "compressed"
    return _TYPES.get(flags & memcache.FLAG_TYPE_MASK, "unknown")


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


def _readable(data: bytes, most: int | None) -> str | None:
    """Return the first characters of bytes; None: they are no text."""
    part = data if most is None else data[: 4 * most]
    try:
        # the end may be a part of a character
        decode = codecs.getincrementaldecoder("utf-8")().decode
        text = decode(part, len(part) == len(data))[:most]
    except UnicodeDecodeError:
        return None
    # fast for a megabyte
    return text if "".join(text.split()).isprintable() else None


def _names_in(request: web.Request, fields: Mapping[str, Any]) -> tuple[str, bytes]:
    """Return the namespace and the key of an item, which may be any bytes.

    Raises:
        web.HTTPBadRequest: there is no such item.
    """
    query = request.rel_url.raw_query_string
    pairs = parse_qsl(query, keep_blank_values=True, errors="surrogateescape")
    match dict(pairs) | {n: fields[n] for n in ("namespace", "key") if n in fields}:
        case {"key": str() as name, **others} if name:
            namespace = others.get("namespace", "")
            if not isinstance(namespace, str):
                raise _bad("'namespace' must be a text")
            try:
                key = name.encode(errors="surrogateescape")
                namespace.encode()
            except UnicodeEncodeError as error:
                raise _bad(f"{error.object!r:.100} is no UTF-8") from None
            if len(key) > memcache.MAX_KEY_SIZE:
                raise _bad(f"the key has {len(key)} bytes, more than 250")
            return namespace, key
    raise _bad("'key' must be a text")


def _encoded(value: Any, kind: Any) -> tuple[bytes, int]:
    """Return a value as the SDK stores it, and its flags.

    Raises:
        web.HTTPBadRequest: it is no value of this type, or too large.
    """
    try:
        match kind, value:
            case ("boolean", bool()) | (None, bool()):
                encoded, flags = b"%d" % value, memcache.TYPE_BOOL
            case "boolean", "True" | "False" | "true" | "false" | "0" | "1":
                is_true = value in {"True", "true", "1"}
                encoded, flags = b"%d" % is_true, memcache.TYPE_BOOL
            case ("integer" | None, int()) | ("integer", str()):
                encoded, flags = b"%d" % int(value), memcache.TYPE_INT
            case "text" | None, str():
                encoded, flags = value.encode(), memcache.TYPE_UNICODE
            case "bytes", str():
                encoded, flags = value.encode(), memcache.TYPE_STR
            case _:
                raise ValueError(value)
    except ValueError:
        shown = f"{value!r:.100}"
        raise _bad(
            f"{shown} is no value of the type {kind!r}; a type is 'text', 'bytes', "
            "'integer' or 'boolean'"
        ) from None
    if len(encoded) > memcache.MAX_VALUE_SIZE:
        raise _bad(
            f"the value has {len(encoded)} bytes, more than {memcache.MAX_VALUE_SIZE}"
        )
    return encoded, flags


def _place_in(cursor: str) -> tuple[str, bytes]:
    """Return the namespace and the key that a cursor names."""
    namespace, _, key = bodies.place_in(cursor).partition(b"\0")
    return namespace.decode(errors="replace"), key


def _bad(what: str) -> web.HTTPBadRequest:
    text = f"The request cannot be used: {what}. Send for example {_EXAMPLE}."
    return web.HTTPBadRequest(text=text)
