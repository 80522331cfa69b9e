"""Carries out the RPCs of google.datastore.v1.Datastore."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gae_devserver.datastore.calls import DatastoreCalls
from gae_devserver.datastore.index_scan import Tally
from gae_devserver.datastore.needed_indexes import NeedIndexError
from gae_devserver.datastore.stub import OnQuery
from gae_devserver.datastore.views import View
from gae_devserver.datastore_v1 import explain, messages, queries, results
from gae_devserver.datastore_v1.aggregation import (
    aggregate,
    aggregated_properties,
    check_base,
)
from gae_devserver.datastore_v1.commit import Commit
from gae_devserver.datastore_v1.databases import Database, Databases
from gae_devserver.datastore_v1.keys import Partition
from gae_devserver.datastore_v1.limits import DEFAULT_LIMITS, Limits
from gae_devserver.datastore_v1.property_paths import mask_of
from gae_devserver.datastore_v1.query_shapes import shapes_of
from gae_devserver.datastore_v1.read_time import as_of
from gae_devserver.datastore_v1.run_query import Search
from gae_devserver.datastore_v1.transactions import Transaction, Transactions
from gae_devserver.rpc.errors import (
    AbortedError,
    FailedPreconditionError,
    check,
    refuse_if,
)
from gae_devserver.rpc.method import BeforeAnswer, CarryOut, Method
from gae_devserver.storage.storage import Storage

_SERVICE = "google.datastore.v1.Datastore"
MAX_LOOKUP_KEYS = 1000
"""Source: "Limits" in the documentation of Datastore."""

_MODE = messages.CommitRequest.Mode
_MORE = messages.QueryResultBatch.MoreResultsType
_STOPPED = (_MORE.NOT_FINISHED, _MORE.MORE_RESULTS_AFTER_LIMIT)


class DatastoreV1:
    """Serves Cloud NDB and other clients of Datastore, without credentials."""

    def __init__(
        self,
        calls: DatastoreCalls,
        app_id: str,
        *,
        limits: Limits = DEFAULT_LIMITS,
        storage: Storage | None = None,
        before_answer: BeforeAnswer = lambda name: None,
        on_query: OnQuery = lambda shape: None,
    ) -> None:
        """Prepare to serve the datastore of the bundled API.

        Args:
            calls: the default database.
            app_id: "dev~" and the project; requests for other projects are refused.
            limits: limits of transactions and of answers.
            storage: keeps named databases.
            before_answer: called with the name of each RPC that succeeded.
            on_query: called with each query of any database before it runs.
        """
        self._app_id = app_id
        self._databases = Databases(calls, app_id, limits, storage)
        self._before_answer = before_answer
        self._on_query = on_query
        self._transactions = Transactions()

    @property
    def rpcs(self) -> dict[str, Method]:
        """The RPCs by their full names."""
        rpcs: dict[str, CarryOut] = {
            "Lookup": self._lookup,
            "RunQuery": self._run_query,
            "RunAggregationQuery": self._run_aggregation_query,
            "BeginTransaction": self._begin_transaction,
            "Commit": self._commit,
            "Rollback": self._rollback,
            "AllocateIds": self._allocate_ids,
            "ReserveIds": self._reserve_ids,
        }
        return {
            f"{_SERVICE}/{name}": Method(
                f"Datastore.{name}",
                getattr(messages.datastore, f"{name}Request").pb(),
                getattr(messages.datastore, f"{name}Response").pb(),
                rpc,
                self._before_answer,
                self._abandon,
            )
            for name, rpc in rpcs.items()
        }

    def clear(self) -> None:
        """End all transactions and empty named databases; not the default one."""
        self._transactions.clear()
        self._databases.clear()

    @property
    def databases(self) -> Databases:
        """The databases that it serves."""
        return self._databases

    @property
    def open_transactions(self) -> int:
        """The number of transactions that have not ended."""
        return len(self._transactions)

    def _database(self, request: Any) -> Database:
        return self._databases.get(Partition.of(request, self._app_id))

    def _reading(
        self, database: Database, options: Any, response: Any
    ) -> tuple[View, Transaction | None]:
        """Return the view that ReadOptions choose, and its transaction."""
        transaction = None
        match options.WhichOneof("consistency_type"):
            case "transaction":
                transaction = self._transactions.get(database, options.transaction)
            case "new_transaction":
                transaction = self._transactions.begin(
                    database, options.new_transaction
                )
                response.transaction = transaction.id
            case "read_time":
                return as_of(database, options.read_time), None
        return transaction.view if transaction else database.store, transaction

    @contextmanager
    def _ended_if_aborted(self, transaction: Transaction) -> Iterator[None]:
        """End the transaction if a read is aborted.

        Cloud NDB sends an aborted read three more times and then fails. It begins a new
        transaction only after the server answers that the old one does not exist.
        """
        try:
            yield
        except AbortedError:
            self._transactions.end(transaction)
            raise

    def _abandon(self, response: Any) -> None:
        """End the transaction that a failed request has begun: no client has its id."""
        if identifier := getattr(response, "transaction", b""):
            self._transactions.forget(identifier)

    async def _lookup(self, request: Any, response: Any) -> None:
        database = self._database(request)
        partition = database.partition
        mask = mask_of(request)
        check(
            len(request.keys) <= MAX_LOOKUP_KEYS,
            f"cannot get more than {MAX_LOOKUP_KEYS} keys in a single call",
        )
        # A repeated key has one result.
        addresses = list(dict.fromkeys(map(partition.address, request.keys)))
        view, transaction = self._reading(database, request.read_options, response)
        if transaction is not None:
            with self._ended_if_aborted(transaction):
                await transaction.read_keys(addresses)
        read_time = view.read_time()
        size = 0
        for namespace, path in addresses:
            if size > database.limits.batch_bytes:
                partition.write_key(namespace, path, response.deferred.add())
                continue
            row = view.row(namespace, path)
            if row is not None:
                result = response.found.add()
                results.write_entity(row, result, mask)
            else:
                result = response.missing.add()
                partition.write_key(namespace, path, result.entity.key)
                result.version = read_time
            size += result.ByteSize()
        results.set_time(read_time, response.read_time)

    async def _search(
        self, request: Any, response: Any, query: Any, aggregated: list[str]
    ) -> tuple[Search, Transaction | None]:
        database = self._database(request)
        database.partition.check_own(request.partition_id)
        namespace = request.partition_id.namespace_id
        parsed = queries.parse(query, namespace, database.partition, aggregated)
        shapes = shapes_of(query, parsed)
        try:
            for shape in shapes:
                self._on_query(shape)
        except NeedIndexError as error:
            raise FailedPreconditionError(str(error)) from None
        view, transaction = self._reading(database, request.read_options, response)
        executed = explain.is_executed(request)
        if executed and transaction is not None:
            with self._ended_if_aborted(transaction):
                await transaction.before_query(parsed)
        tally = Tally() if request.HasField("explain_options") else None
        return Search(view, parsed, database, shapes, tally), transaction

    async def _run_query(self, request: Any, response: Any) -> None:
        refuse_if(request.HasField("gql_query"), "gql_query")
        check(
            request.HasField("query"),
            "one of fields Query.query and Query.gql_query must be set",
        )
        search, transaction = await self._search(request, response, request.query, [])
        with explain.explained(request, response, search):
            if explain.is_executed(request):
                last = search.batch(response.batch, mask_of(request))
                if transaction is not None:
                    stopped = response.batch.more_results in _STOPPED
                    if search.query.limit == 0:
                        # fewer results than the offset are all that there are
                        skipped = response.batch.skipped_results
                        stopped = skipped == search.query.offset
                    transaction.read_query(search.query, last, stopped=stopped)
                version = search.view.read_time()
                response.batch.snapshot_version = version
                results.set_time(version, response.batch.read_time)

    async def _run_aggregation_query(self, request: Any, response: Any) -> None:
        refuse_if(request.HasField("gql_query"), "gql_query")
        check(
            request.HasField("aggregation_query"),
            "one of fields aggregation_query and gql_query must be set",
        )
        asked = request.aggregation_query
        names = aggregated_properties(asked.aggregations)
        search, transaction = await self._search(
            request, response, asked.nested_query, names
        )
        check_base(search.query, names)
        batch = response.batch
        # it is always present, even without results
        batch.more_results = messages.QueryResultBatch.NO_MORE_RESULTS
        with explain.explained(request, response, search):
            if explain.is_executed(request):
                found = batch.aggregation_results.add().aggregate_properties
                hits = list(search.within_limits())
                aggregate(iter(hits), asked.aggregations, found)
                if transaction is not None:
                    last = hits[-1] if hits else None
                    stopped = len(hits) == search.query.limit
                    transaction.read_query(search.query, last, stopped=stopped)
                results.set_time(search.view.read_time(), batch.read_time)

    async def _begin_transaction(self, request: Any, response: Any) -> None:
        database = self._database(request)
        options = request.transaction_options
        response.transaction = self._transactions.begin(database, options).id

    async def _commit(self, request: Any, response: Any) -> None:
        database = self._database(request)
        selector = request.WhichOneof("transaction_selector")
        transaction = None
        if request.mode == _MODE.NON_TRANSACTIONAL:
            check(
                selector is None, "non-transaction commit cannot specify a transaction"
            )
        elif selector == "transaction":
            transaction = self._transactions.get(database, request.transaction)
        else:
            check(selector, "transactional commit requires a transaction")
            options = request.single_use_transaction
            check(
                not options.HasField("read_only"),
                "single_use_transaction in a commit request must be READ_WRITE.",
            )
            transaction = self._transactions.begin(database, options)
        try:
            check(
                not (request.mutations and transaction and transaction.snapshot),
                "Cannot modify entities in a read-only transaction.",
            )
            commit = Commit(database, transaction)
            for mutation in request.mutations:
                commit.add(mutation)
            commit.prepare()
            await commit.apply(response)
        finally:
            if transaction is not None:
                self._transactions.end(transaction)

    async def _rollback(self, request: Any, response: Any) -> None:
        database = self._database(request)
        self._transactions.roll_back(database, request.transaction)

    async def _allocate_ids(self, request: Any, response: Any) -> None:
        database = self._database(request)
        partition = database.partition
        addresses = [
            partition.address(key, complete=False, stored=True) for key in request.keys
        ]
        for namespace, path in addresses:
            reference = partition.reference(namespace, path)
            reference.path.element[-1].ClearField("id")
            database.store._AllocateIds([reference])
            complete = (*path[:-1], reference.path.element[-1].id)
            partition.write_key(namespace, complete, response.keys.add())

    async def _reserve_ids(self, request: Any, response: Any) -> None:
        database = self._database(request)
        partition = database.partition
        addresses = [partition.address(key, stored=True) for key in request.keys]
        # Negative ids are never allocated, so there is no need to reserve them.
        database.store._AllocateIds(
            [
                partition.reference(namespace, (kind, 0, number))
                for namespace, path in addresses
                for kind, named, number in zip(*[iter(path)] * 3, strict=True)
                if not named and number > 0
            ]
        )
