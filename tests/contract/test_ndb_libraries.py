"""The counter is stored with bundled NDB or with Cloud NDB, as shared/counter.py is."""

import pickletools
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.servers.contract_app import CaseError, ContractApp

MODULES = {
    "bundled": "google.appengine.ext.ndb.model",
    "cloud": "google.cloud.ndb.model",
}


def test_counter_uses_one_library(app: ContractApp, library: str) -> None:
    """The library that the copy was made for stores the counter."""
    assert app.call("counter_library") == MODULES[library]


def test_cloud_ndb_is_imported_only_where_it_is_used(
    app: ContractApp, library: str
) -> None:
    """An app that stays with bundled NDB does not pay for the other."""
    app.server.get("/counter/increment")
    app.server.advance(130)
    app.count()

    assert app.call("has_imported", "google.cloud.ndb") is (library == "cloud")


def test_tasks_name_the_shared_function(app: ContractApp) -> None:
    """All that a payload loads is do_something_later of shared.counter."""
    app.server.get("/counter/increment")
    app.server.run_due()

    for task in app.server.tasks():
        loaded = {
            argument
            for opcode, argument, _ in pickletools.genops(task.payload)
            if opcode.name in ("GLOBAL", "INST", "STACK_GLOBAL")
        }
        assert loaded == {"shared.counter do_something_later"}
    assert len(app.server.tasks()) == 2


@pytest.mark.differs("two stores")
def test_entity_is_the_same_with_either(app: ContractApp) -> None:
    """Bundled services see one Counter, with the page's key and property."""
    app.server.get("/counter/increment")
    app.server.run_due()

    assert app.call("bundled_entities") == [["Counter", "localdev", {"count": 10}]]


@pytest.mark.differs("two stores")
def test_entity_that_bundled_services_wrote(app: ContractApp) -> None:
    """An entity that the bundled datastore holds is shown, and counted on."""
    app.call("write_bundled_counter", 5)
    assert app.count() == 5

    app.server.get("/counter/increment")
    app.server.run_due()

    assert app.count() == 15


def test_namespace_of_the_request(app: ContractApp) -> None:
    """A task counts in the namespace that was set when it was deferred."""
    app.call("increment_in_namespace", "apart", 10)
    app.server.run_due()

    assert app.call("stored_count_in_namespace", "apart") == 10
    assert app.call("stored_count_in_namespace", "other") is None
    assert app.count() == 0


def test_one_client_for_each_process(app: ContractApp, library: str) -> None:
    """Threads share a client of Cloud NDB; processes do not, as they are forked."""
    if library == "bundled":
        pytest.skip("bundled NDB has no clients")
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(app.server.get, ["/counter/get"] * 64))
        clients = list(pool.map(app.call, ["cloud_clients"] * 64))

    # a worker that happened to get none of the first requests has none yet
    assert {number for _, number in clients} <= {0, 1}
    assert any(number for _, number in clients)


def test_transactional_tasks_need_bundled_ndb(app: ContractApp, library: str) -> None:
    """A bundled transaction can take a task along; one of Cloud NDB cannot."""
    if library == "bundled":
        app.call("commit_with_the_counter", "together", 10)
    else:
        with pytest.raises(CaseError) as error:
            app.call("commit_with_the_counter", "together", 10)
        assert error.value.kind == "BadTransactionStateError"
    app.server.run_due()

    done = library == "bundled"
    assert len(app.runs("together")) == done
    assert app.count() == 10 * done
