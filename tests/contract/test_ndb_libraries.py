"""The counter is stored with bundled NDB or with Cloud NDB."""

import pytest

from tests.servers.contract_app import CaseError, ContractApp


def test_cloud_ndb_is_imported_only_where_it_is_used(
    app: ContractApp, library: str
) -> None:
    """An app with bundled NDB does not spend time and memory on the other library."""
    app.server.get("/counter/increment")
    app.server.advance(130)
    app.count()

    assert app.call("has_imported", "google.cloud.ndb") is (library == "cloud")


@pytest.mark.differs("two stores")
def test_entity_is_the_same_with_either(app: ContractApp) -> None:
    """An entity from the bundled datastore is shown, and tasks add to it.

    Bundled services see one Counter, with the page's property and its key here.
    """
    app.call("write_bundled_counter", 5)
    assert app.count() == 5

    app.server.get("/counter/increment")
    app.server.run_due()

    assert app.count() == 15
    assert app.call("bundled_entities") == [["Counter", "localdev", {"count": 15}]]


@pytest.mark.changes("namespace")
def test_namespace_of_the_request(app: ContractApp) -> None:
    """A task counts in the namespace that was set when it was deferred."""
    app.call("in_namespace", "apart", "enqueue_increments", 1, 10)
    app.call("in_namespace", "apart", "defer", "note", "in its header")
    app.server.run_due()

    assert app.call("in_namespace", "apart", "stored_count") == 10
    assert app.call("in_namespace", "other", "stored_count") is None
    assert app.count() == 0
    assert app.runs()[0].headers["current-namespace"] == "apart"


def test_transactional_tasks_need_bundled_ndb(app: ContractApp, library: str) -> None:
    """A task can be part of a bundled transaction, but not of one of Cloud NDB."""
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
