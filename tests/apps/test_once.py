"""shared/once.py: a task counts once, however often it is delivered."""

import os
import shutil
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gae_devserver.testing.datastore import DatastoreThread
from google.appengine.ext import deferred, testbed
from google.appengine.ext import ndb as bundled_ndb

from shared import once as once_module
from shared.cloud_ndb import cloud_ndb
from shared.counter import do_something_later
from shared.once import once
from tests.apps.plain_gunicorn import REPOSITORY
from tests.servers.staging import APPS

Task = Callable[..., None]


@pytest.fixture
def bundled(services: testbed.Testbed) -> Any:
    """Bundled NDB on the SDK's own stubs."""
    return bundled_ndb


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Cloud NDB, as counter.py uses it, on the dev server's datastore."""
    datastore = DatastoreThread("unit")
    monkeypatch.setenv("DATASTORE_EMULATOR_HOST", datastore.host)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "unit")
    yield cloud_ndb()
    datastore.stop()


@pytest.fixture(params=["bundled", "cloud"])
def counter(request: pytest.FixtureRequest) -> SimpleNamespace:
    """A counter like the app's, made with one of the libraries."""
    ndb = request.getfixturevalue(request.param)

    class Tally(ndb.Model):  # type: ignore[misc, name-defined]
        count = ndb.IntegerProperty()

    def work(key: str, amount: int, fail: Exception | None = None) -> None:
        entity = Tally.get_by_id(key) or Tally(id=key, count=0)
        entity.count += amount
        entity.put()
        if fail:
            raise fail

    def count(key: str = "key") -> int:
        # as the datastore has it: a cache may be of another thread, or another test
        entity = Tally.get_by_id(key, use_cache=False, use_memcache=False)
        return int(entity.count) if entity else 0

    add = ndb.transactional(once(ndb, Tally)(work))
    return SimpleNamespace(ndb=ndb, Counter=Tally, work=work, add=add, count=count)


@pytest.fixture
def deliver(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Call a function as the delivery of a task does."""

    def deliver(
        task: str, function: Task, *args: Any, queue: str = "default", **options: Any
    ) -> None:
        with monkeypatch.context() as request:
            request.setenv("HTTP_X_APPENGINE_TASKNAME", task)
            request.setenv("HTTP_X_APPENGINE_QUEUENAME", queue)
            function(*args, **options)

    return deliver


def test_counts_a_task_once(counter: Any, deliver: Callable[..., None]) -> None:
    """The second and the third delivery of a task change nothing."""
    for _ in range(3):
        deliver("a", counter.add, "key", 10)

    assert counter.count() == 10


def test_counts_each_task(counter: Any, deliver: Callable[..., None]) -> None:
    """Another task, or one of that name in another queue, counts."""
    deliver("a", counter.add, "key", 10)
    deliver("b", counter.add, "key", 10)
    deliver("a", counter.add, "key", 10, queue="other")
    deliver("a", counter.add, "other key", 1)

    assert counter.count() == 30
    assert counter.count("other key") == 1


def test_outside_of_a_task(counter: Any, deliver: Callable[..., None]) -> None:
    """A plain call counts each time and records nothing."""
    counter.add("key", 10)
    counter.add("key", 10)

    assert counter.count() == 20
    assert recorded(counter) == []


def test_a_failed_task_is_not_recorded(
    counter: Any, deliver: Callable[..., None]
) -> None:
    """The count and the record are one transaction: a retry counts."""
    with pytest.raises(ZeroDivisionError):
        deliver("a", counter.add, "key", 10, fail=ZeroDivisionError())
    assert counter.count() == 0
    assert recorded(counter) == []

    deliver("a", counter.add, "key", 10)

    assert counter.count() == 10
    assert recorded(counter) == ["default/a"]


def test_forgets_the_oldest(
    counter: Any, deliver: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept does not grow; a task that was forgotten would count again."""
    monkeypatch.setattr(once_module, "LISTS", 1)
    monkeypatch.setattr(once_module, "LENGTH", 3)
    for task in "abcd":
        deliver(task, counter.add, "key", 10)
    assert recorded(counter) == ["default/b", "default/c", "default/d"]

    deliver("b", counter.add, "key", 10)
    assert counter.count() == 40
    deliver("a", counter.add, "key", 10)
    assert counter.count() == 50


def test_keeps_what_it_promises(counter: Any, deliver: Callable[..., None]) -> None:
    """The lists fill alike, so that a list forgets nothing much before the others."""
    sizes = [0] * once_module.LISTS
    for number in range(5000):
        name = f"default/task-{number}"
        sizes[zlib.crc32(name.encode()) % once_module.LISTS] += 1

    assert max(sizes) <= once_module.LENGTH


def test_needs_a_transaction(counter: Any, deliver: Callable[..., None]) -> None:
    """The wrong order of the two decorators is an error, no silent double count."""
    add = once(counter.ndb, counter.Counter)(counter.work)

    # Cloud NDB has no context there, and says so itself
    wrong = r"below @ndb\.transactional|No current context"
    with pytest.raises(Exception, match=wrong):
        deliver("a", add, "key", 10)
    assert counter.count() == 0


def test_two_functions_in_one_task(counter: Any, deliver: Callable[..., None]) -> None:
    """Functions that one task calls for the same entity each do their work."""

    def subtract(key: str, amount: int) -> None:
        counter.work(key, -amount)

    other = counter.ndb.transactional(once(counter.ndb, counter.Counter)(subtract))
    for _ in range(2):
        deliver("a", counter.add, "key", 10)
        deliver("a", other, "key", 3)

    assert counter.count() == 7


@pytest.mark.parametrize("differ", ["__module__", "__qualname__"])
def test_two_functions_of_one_name(
    counter: Any, deliver: Callable[..., None], differ: str
) -> None:
    """Functions that one task calls are told apart by module and class as well."""

    def work(key: str, amount: int) -> None:
        counter.work(key, -amount)

    for name in ("__module__", "__qualname__"):
        setattr(work, name, getattr(counter.work, name))
    setattr(work, differ, f"other.{getattr(work, differ)}")
    other = counter.ndb.transactional(once(counter.ndb, counter.Counter)(work))
    for _ in range(2):
        deliver("a", counter.add, "key", 10)
        deliver("a", other, "key", 3)

    assert counter.count() == 7


def test_arguments_by_name(counter: Any, deliver: Callable[..., None]) -> None:
    """The first argument may have any name, and may be given by it or left out."""

    def add_points(account: str = "key", *, points: int, key: str = "") -> str:
        counter.work(account, points)
        return key

    add = counter.ndb.transactional(once(counter.ndb, counter.Counter)(add_points))
    for _ in range(2):
        deliver("a", add, account="key", points=10)
        deliver("b", add, "key", points=10, key="of its own")
        deliver("c", add, points=10)

    assert counter.count() == 30
    assert add("key", points=1, key="of its own") == "of its own"


def test_deliveries_at_once(counter: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deliveries of one task that overlap count once: one of them starts over."""
    monkeypatch.setenv("HTTP_X_APPENGINE_TASKNAME", "a")
    monkeypatch.setenv("HTTP_X_APPENGINE_QUEUENAME", "default")
    threads = [threading.Thread(target=counter.add, args=("key", 10)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert counter.count() == 10


def test_the_record_is_in_the_counters_group(
    counter: Any, deliver: Callable[..., None]
) -> None:
    """Count and record share an entity group, so one transaction holds both."""
    deliver("a", counter.add, "key", 10)
    (entity,) = records(counter)

    assert entity.key.parent().pairs() == (("Tally", "key"),)


def test_the_app_uses_it(
    services: testbed.Testbed, deliver: Callable[..., None]
) -> None:
    """do_something_later, as a task runs it, counts once."""
    payload = deferred.serialize(do_something_later, "key", 10)
    deliver("a", deferred.run, payload)
    deliver("a", deferred.run, payload)

    from shared.counter import Counter

    assert Counter.get_by_id("key", use_cache=False, use_memcache=False).count == 10


def records(counter: Any) -> list[Any]:
    """Return the entities in which tasks of `key` are recorded."""
    found: list[Any] = []

    # in a transaction, where either library has its context
    @counter.ndb.transactional  # type: ignore[untyped-decorator]
    def look() -> None:
        parent = counter.Counter(id="key").key
        kind = type(parent)
        for number in range(once_module.LISTS):
            name = f"{counter.work.__module__}.{counter.work.__qualname__} {number}"
            key = kind("FinishedTasks", name, parent=parent)
            entity = key.get(use_cache=False, use_memcache=False)
            if entity is not None:
                found.append(entity)

    look()
    return found


def recorded(counter: Any) -> list[str]:
    """Return the tasks that are recorded for `key`."""
    return [name for entity in records(counter) for name in entity.names]


@pytest.mark.parametrize("app", APPS)
def test_can_be_left_out(app: str, tmp_path: Path) -> None:
    """Without the file and the lines that name it, the app counts each delivery."""
    copy = tmp_path / "app"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / APPS[app], copy, ignore=ignore)
    (copy / "shared" / "once.py").unlink()
    source = copy / "shared" / "counter.py"
    lines = source.read_text().splitlines(keepends=True)
    others = [line for line in lines if "once" not in line.partition("#")[0]]
    assert len(lines) - len(others) == 2
    source.write_text("".join(others))

    shown = subprocess.run(
        [sys.executable, "-c", LEFT_OUT],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (shown.stdout, shown.returncode) == ("200 200 200 20\n", 0), shown.stderr


LEFT_OUT = """\
import os
os.environ["GAE_ENV"] = "localdev"
from google.appengine.ext import deferred, testbed

services = testbed.Testbed()
services.activate()
services.init_datastore_v3_stub()
services.init_memcache_stub()
services.init_taskqueue_stub()
from wsgiref.util import setup_testing_defaults
import io
import main
from shared.counter import do_something_later, my_key

def ask(method, path, body=b"", **headers):
    answer = []
    environ = {
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "REQUEST_METHOD": method,
        "HTTP_HOST": "localhost:8080",
        "SERVER_SOFTWARE": "gunicorn/27",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
        **headers,
    }
    setup_testing_defaults(environ)
    text = b"".join(main.app(environ, lambda status, *_: answer.append(status[:3])))
    return answer[0], text.decode()

task = {
    "HTTP_X_APPENGINE_TASKNAME": "a",
    "HTTP_X_APPENGINE_QUEUENAME": "default",
    "HTTP_X_APPENGINE_USER_IP": "0.1.0.2",
    "REMOTE_ADDR": "0.1.0.2",
}
payload = deferred.serialize(do_something_later, my_key, 10)
statuses = [
    ask("POST", path, payload, **task)[0]
    for path in ("/_ah/queue/deferred", "/custom/path")
]
print(*statuses, *ask("GET", "/counter/get"))
"""
