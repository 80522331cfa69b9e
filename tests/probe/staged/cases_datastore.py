"""Calls of the datastore: ndb, db, and the functions below both."""

import datetime
import time
from typing import Any

from google.appengine.api import datastore, datastore_admin, datastore_types
from google.appengine.ext import db, ndb
from google.appengine.ext.ndb import metadata

fresh = (f"k{time.time_ns()}-{number}" for number in range(1_000_000))


class Note(ndb.Model):
    """An entity of ndb."""

    text = ndb.StringProperty()
    number = ndb.IntegerProperty()
    tags = ndb.StringProperty(repeated=True)


class Everything(ndb.Model):
    """A property of each kind."""

    blob = ndb.BlobProperty(compressed=True)
    boolean = ndb.BooleanProperty()
    date = ndb.DateProperty()
    moment = ndb.DateTimeProperty()
    time = ndb.TimeProperty()
    float = ndb.FloatProperty()
    place = ndb.GeoPtProperty()
    json = ndb.JsonProperty()
    key_to = ndb.KeyProperty()
    local = ndb.LocalStructuredProperty(Note)
    note = ndb.StructuredProperty(Note)
    pickle = ndb.PickleProperty()
    text = ndb.TextProperty()
    user = ndb.UserProperty()
    anything = ndb.GenericProperty()


class Old(db.Model):
    """An entity of db."""

    text = db.StringProperty()
    number = db.IntegerProperty()
    data = db.BlobProperty()
    many = db.StringListProperty()
    email = db.EmailProperty()
    place = db.GeoPtProperty()


def group(*numbers: int) -> ndb.Key:
    """Store notes in an entity group of their own; return its key."""
    root = ndb.Key("Root", next(fresh))
    ndb.put_multi(
        Note(parent=root, id=number + 1, number=number, text=f"t{number}", tags=["a"])
        for number in numbers
    )
    return root


def numbers(query: Any) -> Any:
    """Return the numbers of the notes that a query finds."""
    return [note.number for note in query]


def written(**values: Any) -> Any:
    """Store an entity with these values; return what is then there."""
    key = Everything(**values).put()
    read = key.get(use_cache=False, use_memcache=False)
    return {name: str(getattr(read, name)) for name in values}


def old(**values: Any) -> Any:
    """Do the same with db."""
    read = db.get(Old(**values).put())
    return {name: str(getattr(read, name)) for name in values}


def in_transaction(*, fail: bool = False, **options: Any) -> Any:
    """Count a note in a transaction; return what is then there."""
    key = Note(number=1).put()

    def work() -> None:
        note = key.get()
        note.number += 1
        note.put()
        if fail:
            raise ndb.Rollback

    ndb.transaction(work, **options)
    return key.get(use_cache=False).number


def groups(number: int, **options: Any) -> Any:
    """Change some entity groups in one transaction."""
    keys = [group(1) for _ in range(number)]

    def work() -> int:
        return len(ndb.put_multi([Note(parent=key) for key in keys]))

    return ndb.transaction(work, **options)


def query_in_transaction(ancestor: bool) -> Any:
    """Query in a transaction."""
    root = group(1, 2)
    chosen = Note.query(ancestor=root if ancestor else None)
    return ndb.transaction(lambda: len(chosen.fetch()))


def conflict() -> Any:
    """Change an entity while a transaction changes it."""
    key = Note(number=1).put()

    @ndb.transactional(retries=0)
    def work() -> None:
        note = key.get()
        ndb.non_transactional(lambda: Note(key=key, number=5).put())()
        note.number = 9
        note.put()

    work()


def paged() -> Any:
    """Read a query's pages."""
    query = Note.query(ancestor=group(*range(5))).order(Note.number)
    pages, cursor, more = [], None, True
    while more:
        page, cursor, more = query.fetch_page(2, start_cursor=cursor)
        pages.append(numbers(page))
    return pages


def gql_numbers(text: str, *args: Any) -> Any:
    """Run a GQL query of ndb in a group of three notes."""
    return numbers(ndb.gql(text, *args, group(1, 2, 3)).fetch())


def raw(**values: Any) -> Any:
    """Store an entity with the functions below db; return its properties."""
    entity = datastore.Entity("Raw")
    entity.update(values)
    read = datastore.Get(datastore.Put(entity))
    return {name: str(value) for name, value in read.items()}


def raw_query() -> Any:
    """Query with the functions below db."""
    query = datastore.Query("Note", filters={"number >": 1})
    query.Ancestor(datastore_types.Key.from_path("Root", group(1, 2, 3).id()))
    query.Order(("number", datastore.Query.DESCENDING))
    return [entity["number"] for entity in query.Get(10)]


NOON = datetime.datetime(2024, 1, 2, 12, 0, 0, 5)
QUERY = Note.query

CASES: dict[str, Any] = {
    "put everything": lambda: written(
        blob=b"\xff" * 10,
        boolean=True,
        moment=NOON,
        date=NOON.date(),
        time=NOON.time(),
        float=1e308,
        place=ndb.GeoPt(52.5, -13.4),
        json={"a": [1, None, "ü"]},
        pickle=(1, {2}),
        key_to=ndb.Key("A", 1, "B", "ü"),
        note=Note(text="in", tags=["a", "b"]),
        local=Note(text="in"),
        anything=5,
    ),
    "put over 1 MiB": lambda: Everything(json="x" * (1 << 20)).put(),
    "put reserved kind": lambda: datastore.Put(datastore.Entity("__Reserved__")),
    "key unicode": lambda: Note(id="grün").put().id(),
    "key of other app": lambda: ndb.Key("A", 1, app="other").get(),
    "get missing": lambda: Note.get_by_id("missing"),
    "get incomplete": lambda: ndb.Key(Note, None).get(),
    "delete": lambda: [
        key := Note().put(),
        key.delete(),
        key.get(use_cache=False),
    ][1:],
    "delete incomplete": lambda: ndb.Key(Note, None).delete(),
    "async": lambda: [
        Note.get_by_id_async("missing").get_result(),
        Note().put_async().get_result().kind(),
        Note.query(ancestor=group(1)).count_async().get_result(),
        Note.query(ancestor=group(1)).get_async().get_result().number,
    ],
    "namespace": lambda: [
        key := Note(namespace="ns", number=3).put(),
        key.namespace(),
        len(Note.query(namespace="ns").fetch(1)),
    ][1:],
    "namespace bad": lambda: Note(namespace="a b").put(),
    "query": lambda: numbers(QUERY(ancestor=group(3, 1, 2)).order(Note.number)),
    "query in": lambda: numbers(QUERY(Note.number.IN([1, 3]), ancestor=group(1, 2, 3))),
    "query or": lambda: numbers(
        QUERY(ndb.OR(Note.number == 1, Note.text == "t2"), ancestor=group(1, 2))
    ),
    "query projection": lambda: [
        note.number for note in QUERY(ancestor=group(2)).fetch(projection=["number"])
    ],
    "query distinct": lambda: numbers(
        QUERY(ancestor=group(1, 2), projection=[Note.number], distinct=True)
    ),
    "query pages": paged,
    "query kindless": lambda: len(ndb.Query(ancestor=group(1, 2)).fetch()),
    "query unknown kind": lambda: len(ndb.Query(kind="Never").fetch()),
    "gql": lambda: gql_numbers(
        "SELECT * FROM Note WHERE number > :1 AND ANCESTOR IS :2", 1
    ),
    "transaction": in_transaction,
    "transaction rolled back": lambda: in_transaction(fail=True),
    "transaction propagation": lambda: in_transaction(
        propagation=ndb.TransactionOptions.MANDATORY
    ),
    "transaction nested": lambda: ndb.transaction(
        lambda: ndb.transaction(lambda: 1, propagation=ndb.TransactionOptions.NESTED)
    ),
    "transaction of 2 groups": lambda: groups(2, xg=True),
    "transaction of 26": lambda: groups(26, xg=True),
    "transaction query": lambda: query_in_transaction(True),
    "transaction query without ancestor": lambda: query_in_transaction(False),
    "transaction conflict": conflict,
    "allocate_ids": lambda: len(Note.allocate_ids(10)),
    "allocate_ids max": lambda: Note.allocate_ids(max=1)[0] > 0,
    "metadata": lambda: [
        group(1) and "Note" in metadata.get_kinds(),
        len(metadata.get_namespaces()) > 0,
        "number" in metadata.get_properties_of_kind("Note"),
        metadata.get_representations_of_kind("Note")["number"],
        metadata.get_entity_group_version(group(1)) is not None,
    ],
    "db put": lambda: old(
        text="ü",
        number=5,
        data=b"data",
        many=["a", "b"],
        email="a@example.com",
        place=db.GeoPt(1, 2),
    ),
    "db query": lambda: [
        Old(text="q", number=3).put().kind(),
        Old.all().filter("text =", "q").get().number,
        Old.gql("WHERE text = :1", "q").get().number,
        Old.all(keys_only=True).count(1),
    ],
    "db async": lambda: [
        db.put_async(Old(text="a")).get_result().kind(),
        db.get_async(db.Key.from_path("Old", "missing")).get_result(),
        db.delete_async(db.Key.from_path("Old", "missing")).get_result(),
    ],
    "db allocate_ids": lambda: len(db.allocate_ids(db.Key.from_path("Old", 1), 5)),
    "db transaction options": lambda: db.run_in_transaction_options(
        db.create_transaction_options(xg=True), lambda: [Old().put().kind()] * 2
    ),
    "db get_indexes": lambda: type(db.get_indexes()).__name__,
    "raw put": lambda: raw(a=1, b="ü", c=[1, "x"], d=None),
    "raw types": lambda: raw(
        a=datastore_types.ByteString(b"x"),
        b=datastore_types.Category("c"),
        c=datastore_types.IM("http://example.com name"),
        d=datastore_types.PhoneNumber("5"),
    ),
    "raw query": raw_query,
    "raw indexes": lambda: type(datastore.GetIndexes()).__name__,
    "admin get_indices": lambda: (
        type(datastore_admin.GetIndices(ndb.Key("A", 1).app())).__name__
    ),
}

GROUPS = {"datastore": CASES}
