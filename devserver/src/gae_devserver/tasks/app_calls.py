"""Checks and adapts the app's calls of the task queue, before the stub gets them."""

import re
from collections.abc import Sequence
from typing import Any

from google.appengine.api.taskqueue import taskqueue_service_bytes_pb2 as pb
from google.appengine.runtime.apiproxy_errors import ApplicationError

from gae_devserver.clock import Clock
from gae_devserver.config.service_file import DEFAULT
from gae_devserver.http.routing import Routing, UnknownServiceError
from gae_devserver.tasks.group import Group
from gae_devserver.tasks.targets import Targets

_ERRORS = pb.TaskQueueServiceError

# the rule of the SDK's client (google/appengine/api/taskqueue/taskqueue.py), which also
# accepts a line end behind a name
_TASK_NAME = re.compile(rb"[a-zA-Z0-9_-]{1,500}")


class AppCalls:
    """The rules that the SDK's stub leaves to production."""

    def __init__(
        self,
        group: Group,
        clock: Clock,
        *,
        app_id: str,
        default_hostname: str,
        routing: Routing,
        targets: Targets,
    ) -> None:
        """Check calls about the queues of `group`; see `TaskQueue` for the others."""
        self._group = group
        self._clock = clock
        self._app_id = app_id
        self._default_hostname = default_hostname
        self._routing = routing
        self._targets = targets

    def accept(self, method: str, request: Any, service: str) -> None:
        """Check a call and adapt its ETAs and targets; see `TaskQueue.accept`."""
        adds = _adds(method, request)
        # the stub, too, looks only at the first one
        in_transaction = any(
            add.HasField("transaction") or add.HasField("datastore_transaction")
            for add in adds[:1]
        )
        for part in adds or [request]:
            self._check_app(part)
        for add in adds:
            _check_name(add, in_transaction)
            _check_url(add)
            self._check_queue(add)
            if add.mode == pb.TaskQueueMode.PUSH:
                self._set_target(add, service)
            # the app computed the ETA with the real time
            add.eta_usec += int(self._clock.offset * 1e6)

    def _check_app(self, request: Any) -> None:
        if "app_id" not in request.DESCRIPTOR.fields_by_name:
            return
        if request.HasField("app_id"):
            if request.app_id.decode(errors="replace") != self._app_id:
                raise ApplicationError(
                    _ERRORS.PERMISSION_DENIED,
                    f"this server has only the queues of the app {self._app_id!r}",
                )
            # with an app id, the stub fails at random to test its callers
            request.ClearField("app_id")
            # only calls of the administration console require an app id
            if not request.IsInitialized():
                raise ApplicationError(
                    _ERRORS.PERMISSION_DENIED,
                    "queues can be changed only in queue.yaml",
                )

    def _check_queue(self, add: Any) -> None:
        """Refuse an unknown queue, or one of the other kind, also in a transaction.

        The stub's answer has no text, and at a commit, it drops the task silently.
        """
        name = add.queue_name.decode(errors="replace")
        if self._group._ValidateQueueName(name) == _ERRORS.UNKNOWN_QUEUE:
            raise ApplicationError(
                _ERRORS.UNKNOWN_QUEUE,
                f"there is no queue {name!r}. Add it to queue.yaml",
            )
        queue = self._group._queues.get(name)
        if queue is not None and queue.queue_mode != add.mode:
            kind = queue.config.mode
            raise ApplicationError(
                _ERRORS.INVALID_QUEUE_MODE,
                f"{name!r} is a {kind} queue, and takes only tasks with "
                + ("method='PULL'" if kind == "pull" else "another method than 'PULL'"),
            )

    def _set_target(self, add: Any, service: str) -> None:
        """Check the target of a task; one without a target is for its own `service`.

        The Host header keeps it, as a later run may have other services and versions;
        without a name, it means `default`. The target of the queue stays in queue.yaml,
        which may change before the task runs.
        """
        queue = self._group._queues.get(add.queue_name.decode(errors="replace"))
        what = "task"
        try:
            named = self._targets.in_headers(add)
            if queue is not None and queue.config.target:
                what = f"queue {queue.config.name}"
                self._routing.named(queue.config.target)
        except UnknownServiceError as error:
            raise ApplicationError(
                _ERRORS.INVALID_REQUEST, f"the {what} has a wrong target: {error}"
            ) from None
        if named is not None or service != DEFAULT:
            for header in add.header:
                if header.key.lower() == b"host":
                    break
            else:
                header = add.header.add(key=b"host")
            header.value = f"{named or service}.{self._default_hostname}".encode()


def _check_name(add: Any, in_transaction: bool) -> None:
    # the stub chooses a name for a task without one
    if not add.task_name:
        return
    if in_transaction:
        # at the commit, another task could have the name; the client refuses it too
        raise ApplicationError(
            _ERRORS.INVALID_TASK_NAME, "a task in a transaction cannot have a name"
        )
    if not _TASK_NAME.fullmatch(add.task_name):
        raise ApplicationError(
            _ERRORS.INVALID_TASK_NAME,
            "a task name must have 1 to 500 letters, digits, hyphens and underscores",
        )


def _check_url(add: Any) -> None:
    if add.mode == pb.TaskQueueMode.PUSH and not add.url.startswith(b"/"):
        # only Cloud Tasks has tasks for another server; the client refuses it too
        raise ApplicationError(
            _ERRORS.INVALID_URL,
            f"the task's URL is {add.url.decode(errors='replace')!r}, but it must "
            "start with /",
        )


def _adds(method: str, request: Any) -> Sequence[Any]:
    if method == "Add":
        return [request]
    return request.add_request if method == "BulkAdd" else []
