"""Calls of memcache."""

import time
from typing import Any

from google.appengine.api import memcache
from google.appengine.api.namespace_manager import set_namespace

client = memcache.Client()


def stored(key: str, value: Any, **options: Any) -> Any:
    """Set a value; return the answer and what is then there."""
    return memcache.set(key, value, **options), memcache.get(key)


def compare_and_set(between: Any = lambda: None) -> Any:
    """Read a value, do what comes `between`, and try to replace the value."""
    memcache.set("cas", 1)
    read = client.gets("cas")
    between()
    return read, client.cas("cas", 2), memcache.get("cas")


def in_namespace(name: str) -> Any:
    """Store a value in a namespace, and look for it outside."""
    set_namespace(name)
    try:
        memcache.set("there", 1)
        inside = memcache.get("there")
    finally:
        set_namespace("")
    return inside, memcache.get("there"), memcache.get("there", namespace=name)


def counted(key: str, start: Any, **options: Any) -> Any:
    """Store a value and increment it; return the answer and what is then there."""
    memcache.set(key, start)
    return memcache.incr(key, **options), memcache.get(key)


def locked(seconds: Any) -> Any:
    """Delete a key and lock it; try to add it, then to set it."""
    memcache.set("lock", 1)
    deleted = memcache.delete("lock", seconds)
    return deleted, memcache.add("lock", 2), memcache.set("lock", 3)


def statistics() -> Any:
    """Flush, store and read; return the statistics that are certain."""
    memcache.flush_all()
    memcache.set("s", "abc")
    memcache.get_multi(["s", "missing"])
    stats = memcache.get_stats()
    return sorted(stats), stats["hits"], stats["misses"], stats["items"]


CASES: dict[str, Any] = {
    "set int": lambda: stored("i", 7),
    "set big int": lambda: stored("big", 2**70),
    "set text": lambda: stored("t", "grün ☃"),
    "set bytes": lambda: stored("b", b"\xff\x00"),
    "set object": lambda: stored("o", {"a": [1, (2,)]}),
    "set 1 MB": lambda: stored("mb", "x" * 1_000_000)[0],
    "set with time": lambda: stored("time", 1, time=60),
    "set with a moment ahead": lambda: stored("moment", 1, time=time.time() + 99),
    "set with a moment past": lambda: stored("past", 1, time=time.time() - 99),
    "key empty": lambda: stored("", 1),
    "key unicode": lambda: stored("grün", 1),
    "key long": lambda: stored("k" * 300, 1),
    "key with space": lambda: stored("a b\n", 1),
    "add": lambda: [memcache.add("add", 1), memcache.add("add", 2)],
    "replace": lambda: [memcache.replace("rep", 1), memcache.set("rep", 1)],
    "delete with lock": lambda: locked(60),
    "delete with lock 0": lambda: locked(0),
    "set_multi": lambda: [
        memcache.set_multi({"m1": 1, "m2": "zwei"}, key_prefix="p"),
        memcache.get_multi(["m1", "m2", "m3"], key_prefix="p"),
    ],
    "delete_multi": lambda: [
        memcache.set_multi({"dm1": 1, "dm2": 2}),
        memcache.delete_multi(["dm1", "none"]),
        memcache.get_multi(["dm1", "dm2"]),
    ],
    "incr": lambda: counted("n", 1),
    "incr by 0": lambda: counted("n", 1, delta=0),
    "incr missing": lambda: memcache.incr("no number"),
    "incr initial": lambda: memcache.incr("fresh", initial_value=10),
    "incr text": lambda: counted("n", "abc"),
    "incr digits": lambda: counted("n", "12"),
    "incr 64 bits": lambda: counted("n", 2**64 - 1),
    "decr below 0": lambda: [memcache.set("dec", 1), memcache.decr("dec", 2)],
    "incr several": lambda: memcache.incr(["x1", "x2"], initial_value=1),
    "offset_multi": lambda: [
        memcache.set("off", 5),
        memcache.offset_multi({"off": -2, "off2": 3}, initial_value=10),
        memcache.offset_multi({"off3": 3}),
    ],
    "cas": compare_and_set,
    "cas after a set": lambda: compare_and_set(lambda: memcache.set("cas", 9)),
    "cas after a delete": lambda: compare_and_set(lambda: memcache.delete("cas")),
    "cas never read": lambda: memcache.Client().cas("cas", 1),
    "cas_multi": lambda: [
        memcache.set_multi({"c1": 1, "c2": 2}),
        client.get_multi(["c1", "c2"], for_cas=True),
        memcache.set("c2", 5),
        client.cas_multi({"c1": 3, "c2": 4}),
        memcache.get_multi(["c1", "c2"]),
    ],
    "cas_reset": lambda: [client.gets("cas"), client.cas_reset(), client.cas("cas", 1)],
    "peek": lambda: [memcache.set("pk", 1), client.peek("pk"), client.peek("nothing")],
    "namespace argument": lambda: [
        memcache.set("ns", 1, namespace="one"),
        memcache.get("ns", namespace="one"),
        memcache.get("ns"),
        memcache.incr("ns", namespace="one"),
        memcache.delete("ns", namespace="one"),
    ],
    "namespace manager": lambda: in_namespace("other"),
    "namespace long": lambda: memcache.set("ns", 1, namespace="a" * 101),
    "async": lambda: [
        client.set_multi_async({"as1": 1}).get_result(),
        client.get_multi_async(["as1", "as2"]).get_result(),
        client.incr_async("as1").get_result(),
        client.offset_multi_async({"as1": 2}).get_result(),
        client.add_multi_async({"as1": 1}).get_result(),
        client.replace_multi_async({"as3": 1}).get_result(),
        client.delete_multi_async(["as1"]).get_result(),
        client.get_stats_async().get_result() is not None,
    ],
    "flush_all": lambda: [memcache.set("fl", 1), memcache.flush_all(), stored("x", 1)],
    "flush_all async": lambda: [
        memcache.set("fl", 1),
        client.flush_all_async().get_result(),
        memcache.get("fl"),
    ],
    "stats": statistics,
}

GROUPS = {"memcache": CASES}
