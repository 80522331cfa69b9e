"""Carries out calls of the bundled datastore API under locks of entity groups."""

import asyncio
from typing import Any

from google.appengine.datastore import datastore_pb
from google.appengine.runtime import apiproxy_errors

from gae_devserver.datastore.entity_locks import (
    ContentionError,
    EntityGroupLocks,
    Owner,
)
from gae_devserver.datastore.stub import Datastore

READ_ONLY = datastore_pb.BeginTransactionRequest.READ_ONLY


class DatastoreCalls:
    """The datastore API as the app calls it: waits for locks, then calls the stub."""

    def __init__(
        self,
        stub: Datastore,
        locks: EntityGroupLocks,
        *,
        cursor_seconds: float = 30.0,
    ) -> None:
        """Call a stub.

        Args:
            stub: the datastore.
            locks: those of its entity groups.
            cursor_seconds: how long a query that was not read to its end can go on
                after its request. Each call with the token is a request of its own.
        """
        self.stub = stub
        self.locks = locks
        self._cursor_seconds = cursor_seconds
        self._cursors: dict[str, list[int]] = {}
        """By request, the queries that have more results."""
        self._owners: dict[int, Owner] = {}
        """By handle, the transactions that take locks."""
        self._tickets: dict[int, str] = {}
        """By handle, the requests that began the open transactions."""

    async def call(self, method: str, request: Any, response: Any, ticket: str) -> None:
        """Carry out one call of datastore_v3.

        Raises:
            apiproxy_errors.ApplicationError: the datastore's own errors.
        """
        if method in {"Commit", "Rollback"}:
            try:
                self._ask(method, request, response)
            finally:
                self._give_up(request.handle)
            return
        if method == "BeginTransaction" and request.HasField("previous_transaction"):
            self._give_up(request.previous_transaction.handle)
        groups = _groups(method, request)
        if groups and request.HasField("transaction"):
            handle = request.transaction.handle
            try:
                # Without an owner it is read-only, or unknown, which the stub reports.
                if owner := self._owners.get(handle):
                    # Sorted: two calls with the same groups never wait for each other.
                    await self._acquire(owner, sorted(groups))
                self._ask(method, request, response)
            except apiproxy_errors.ApplicationError as error:
                if error.application_error == datastore_pb.Error.CONCURRENT_TRANSACTION:
                    # For the SDK the transaction has ended: it sends no rollback.
                    self.roll_back(handle)
                raise
        elif any(self.locks.holder(group) for group in groups):
            owner = Owner(ticket)
            try:
                await self._acquire(owner, groups)
                self._ask(method, request, response)
            finally:
                self.locks.release(owner)
        else:
            self._ask(method, request, response)
        if method == "BeginTransaction" and request.mode != READ_ONLY:
            self._owners[response.handle] = Owner(ticket)
        if method == "RunQuery" and response.HasField("cursor"):
            self._cursors.setdefault(ticket, []).append(response.cursor.cursor)

    def _ask(self, method: str, request: Any, response: Any) -> None:
        self.stub.MakeSyncCall("datastore_v3", method, request, response)

    def _give_up(self, handle: int) -> None:
        self._tickets.pop(handle, None)
        owner = self._owners.pop(handle, None)
        if owner is not None:
            self.locks.release(owner)

    async def _acquire(self, owner: Owner, groups: list[bytes]) -> None:
        try:
            await self.locks.acquire(owner, groups)
        except ContentionError as error:
            raise apiproxy_errors.ApplicationError(
                datastore_pb.Error.CONCURRENT_TRANSACTION,
                f"too much contention on these datastore entities: {error}",
            ) from None

    def roll_back(self, handle: int) -> None:
        """Roll back a transaction, and release its locks."""
        live = self.stub.live_transaction(handle)
        if live is not None:
            live.Rollback()
        self._give_up(handle)

    def claim(self, ticket: str) -> None:
        """Assign the new transactions to the request that began them."""
        while self.stub.begun:
            self._tickets[self.stub.begun.pop()] = ticket

    def request_ended(self, ticket: str) -> None:
        """Roll back the transactions that a request left open, and forget its queries.

        No later call can end them.
        """
        if cursors := self._cursors.pop(ticket, None):
            loop = asyncio.get_running_loop()
            loop.call_later(self._cursor_seconds, self.stub.forget_queries, cursors)
        for handle, begun_by in list(self._tickets.items()):
            if begun_by == ticket:
                self.roll_back(handle)

    def is_idle(self) -> bool:
        """Return whether no transaction is open and no entity group is locked."""
        return not (
            self.stub.open_transactions() or self._owners or self.locks.held_groups
        )

    def clear(self) -> None:
        """Delete all entities and roll back all transactions."""
        for handle in list(self._tickets):
            self.roll_back(handle)
        self.stub.Clear()


def _groups(method: str, request: Any) -> list[bytes]:
    """Return the entity groups that a call must lock, each once."""
    match method:
        case "Get":
            references = request.key if request.HasField("transaction") else ()
        case "RunQuery":
            in_transaction = request.HasField("transaction")
            has_ancestor = request.HasField("ancestor")
            references = [request.ancestor] if in_transaction and has_ancestor else ()
        case "Put":
            references = [entity.key for entity in request.entity]
        case "Delete" | "Touch":
            references = request.key
        case _:
            references = ()
    return list(dict.fromkeys(filter(None, map(entity_group, references))))


def entity_group(reference: Any) -> bytes | None:
    """Return the name of the lock of a key's entity group."""
    if not reference.path.element:
        return None
    root = reference.path.element[0]
    if not (root.id or root.HasField("name")):
        # The datastore chooses the id later, so no other call can name this group.
        return None
    parts = (reference.app, reference.name_space, root.SerializeToString())
    return repr(parts).encode()
