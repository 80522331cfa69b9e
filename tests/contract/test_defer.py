"""What can be deferred, what is refused at once, and what is dropped later."""

import itertools
import pickletools
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest

from tests.routes import DEFERRED, HANDLERS
from tests.servers.contract_app import CaseError, ContractApp

DAY = 86400


def test_payload_is_pickled_in_protocol_0(app: ContractApp) -> None:
    """With the apps' setting, Python 2.7 can read a task; it loads one function."""
    app.server.get("/counter/increment")
    app.server.run_due()

    tasks = app.server.tasks()
    assert len(tasks) == 2
    for task in tasks:
        # newer protocols begin with the byte 0x80
        assert task.payload.startswith(b"(cshared.counter\ndo_something_later\n")
        assert task.payload.isascii()
        loaded = {
            argument
            for opcode, argument, _ in pickletools.genops(task.payload)
            if opcode.name in ("GLOBAL", "INST")
        }
        assert loaded == {"shared.counter do_something_later"}
        assert task.headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize("path", HANDLERS)
def test_arguments_arrive_as_they_were(app: ContractApp, path: str) -> None:
    """Arguments of any type that can be pickled reach the function unchanged."""
    value = {"text": "grüße \u2603", "list": [1, 2.5, None, True], "empty": ""}

    app.call("defer", "keep", "kept", value, _url=path)
    app.server.run_due()

    (run,) = app.runs("kept")
    assert run.extra["value"] == value
    assert (run.method, run.path) == ("POST", path)
    assert run.content_type == "application/octet-stream"


@pytest.mark.differs("escapes")
def test_escapes_in_the_url_are_decoded(app: ContractApp) -> None:
    """Escapes in a task's URL are decoded, as in any other request."""
    app.defer("note", "escaped", _url="/custom%2Fp%61th")
    app.server.run_due()

    assert [run.path for run in app.runs()] == ["/custom/path"]


def test_url_with_a_letter_that_is_not_ascii(app: ContractApp) -> None:
    """A URL with other letters than ASCII is encoded, and the task arrives."""
    app.defer("note", "green", _url="/contract/grün")
    app.server.run_due()

    (run,) = app.runs("green")
    assert run.path.encode("latin-1").decode() == "/contract/grün"


def test_every_kind_of_callable_can_be_deferred(app: ContractApp) -> None:
    """A bound method, a callable object, a class method and a class can be deferred."""
    app.call("defer_callables")
    app.server.run_due()

    runs = [run for run in app.runs() if run.path == DEFERRED]
    assert {(run.label, run.extra.get("value")) for run in runs} == {
        ("made in the request", 1),
        ("made in the request", 2),
        ("class method", 3),
        ("class", None),
    }


@pytest.mark.parametrize(
    ("what", "kinds"),
    [
        ("a lambda", {"AttributeError", "PicklingError"}),
        ("a nested function", {"AttributeError", "PicklingError"}),
        ("a lock", {"TypeError", "PicklingError"}),
        ("a text", {"ValueError"}),
    ],
)
def test_what_cannot_be_deferred(app: ContractApp, what: str, kinds: set[str]) -> None:
    """What cannot be deferred fails where it is deferred, not in the queue."""
    with pytest.raises(CaseError) as error:
        app.call("defer_impossible", what)

    # which error a pickle raises depends on Python's version
    assert error.value.kind in kinds
    assert app.server.tasks() == []


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"_name": "not a name"}, "InvalidTaskNameError"),
        ({"_name": "x" * 501}, "InvalidTaskNameError"),
        ({"_queue": "nowhere"}, "UnknownQueueError"),
        ({"_queue": "not a queue"}, "InvalidQueueNameError"),
        ({"_queue": "pull"}, "InvalidQueueModeError"),
        ({"_countdown": 31 * DAY}, "InvalidEtaError"),
        ({"_countdown": 1, "_eta_in": 1}, "InvalidTaskError"),
        ({"_url": "http://elsewhere.example/"}, "InvalidUrlError"),
        ({"_url": "no-slash"}, "InvalidUrlError"),
        # the SDK's docstring names this as the default
        ({"_url": None}, "TypeError"),
        ({"_transactional": True}, "BadTransactionStateError"),
        ({"_retry_options": {"task_retry_limit": -1}}, "InvalidTaskRetryOptionsError"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_options_that_are_refused(
    app: ContractApp, options: dict[str, object], kind: str
) -> None:
    """A wrong option raises where the task is deferred, and nothing is queued."""
    with pytest.raises(CaseError) as error:
        app.call("defer", "note", "refused", **options)
    app.server.run_due()

    assert error.value.kind == kind
    assert app.server.tasks() == []
    assert app.runs() == []


def test_countdown_of_30_days_is_allowed(app: ContractApp) -> None:
    """The longest countdown is 30 days."""
    app.defer("note", "far", _countdown=30 * DAY - 60)

    assert app.server.task().due_in == pytest.approx(30 * DAY - 60, abs=5)


def test_target_that_is_this_service(app: ContractApp) -> None:
    """A task may name the service that defers it."""
    app.defer("note", "here", _target="default")
    app.server.run_due()

    assert len(app.runs("here")) == 1


@pytest.mark.differs("target")
def test_target_that_is_another_service(app: ContractApp, tasks: str) -> None:
    """A task for a service that does not run here does not run in this one.

    The bundled service refuses it. Cloud Tasks adds it, and its attempts fail.
    """
    refused: AbstractContextManager[Any] = nullcontext()
    if tasks == "bundled":
        refused = pytest.raises(CaseError, match="other-service")
    with refused:
        app.defer("note", "elsewhere", _target="other-service")
    app.server.run_due()

    assert app.runs() == []


def test_own_headers_reach_the_task(app: ContractApp) -> None:
    """Headers given to defer reach the task, but cannot replace App Engine's own."""
    app.defer(
        "note",
        "with headers",
        _headers={"X-Own": "kept", "X-AppEngine-TaskRetryCount": "7"},
    )
    app.server.run_due()

    (run,) = app.runs()
    assert run.own["x-own"] == "kept"
    assert run.headers["taskretrycount"] == "0"


GONE = "(ccontract_tasks\nmissing\np0\n(t(dt."


@pytest.mark.parametrize(
    "case",
    [
        ("defer_removed",),
        ("defer_unloadable",),
        *itertools.product(["enqueue"], HANDLERS, ["", "garbage", GONE]),
    ],
)
def test_task_that_does_not_load_is_dropped(
    app: ContractApp, case: tuple[str, ...]
) -> None:
    """A function that is gone, an argument that fails to load or garbage is logged."""
    app.call(*case)
    app.server.advance(15)

    assert app.server.tasks() == []
    assert app.runs() == []
    app.wait_for_log("Permanent failure attempting to execute task")


@pytest.mark.parametrize(("size", "entities"), [(90_000, 0), (200_000, 1)])
def test_big_payload_is_kept_in_the_datastore(
    app: ContractApp, size: int, entities: int
) -> None:
    """A payload over 100 KB waits in an entity, which is deleted after the run."""
    app.defer("keep", "big", "x" * size, _countdown=60)

    assert app.call("count_payload_entities") == entities
    assert (len(app.server.task().payload) < 1000) == bool(entities)
    app.server.advance(65)
    (run,) = app.runs("big")
    assert len(run.extra["value"]) == size
    assert app.call("count_payload_entities") == 0


def test_big_payload_whose_entity_is_gone_is_dropped(app: ContractApp) -> None:
    """Without its entity a big task can never run; it is not retried."""
    app.defer("keep", "big", "x" * 200_000, _countdown=60)
    app.call("delete_payload_entities")

    app.server.advance(65)

    assert app.server.tasks() == []
    assert app.runs() == []
    app.wait_for_log("Permanent failure attempting to execute task")
