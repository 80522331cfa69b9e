"""The SDK's queue on indexes of which a change moves little."""

from itertools import islice
from typing import Any

from google.appengine.api.taskqueue import taskqueue_stub

from gae_devserver.tasks.task_index import Entry, Place, TaskIndex


class IndexedQueue(taskqueue_stub._Queue):  # type: ignore[misc]
    """The SDK's queue on such indexes; its own methods use them where not replaced."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._make_indexes()

    def _make_indexes(self) -> None:
        self._sorted_by_name = TaskIndex()
        self._sorted_by_eta = TaskIndex()
        self._sorted_by_tag = TaskIndex()

    def PurgeQueue(self) -> None:
        """Drop all tasks."""
        with self._lock:
            self._make_indexes()

    def _InsertTask(self, task: Any) -> None:
        name = task.task_name.decode()
        self._sorted_by_name.add((name, task))
        self.task_name_archive.add(name)
        self._add_due(task)

    def _PostponeTaskInsertOnly(self, task: Any, new_eta_usec: int) -> None:
        task.eta_usec = new_eta_usec
        self._add_due(task)

    def _add_due(self, task: Any) -> None:
        due = (task.eta_usec, task.task_name.decode(), task)
        self._sorted_by_eta.add(due)
        if task.HasField("tag"):
            self._sorted_by_tag.add((task.tag.decode(), *due))

    def _RemoveTaskFromIndex(self, index: TaskIndex, entry: Entry, task: Any) -> bool:
        place = index.find(entry)
        if place is None or index[place][-1] is not task:
            return False
        index.pop(place)
        return True

    def _LocateTaskByName(self, task_name: bytes | str) -> Place | None:
        name = task_name if isinstance(task_name, str) else task_name.decode()
        place = self._sorted_by_name.find((name,))
        if place is None or self._sorted_by_name[place][0] != name:
            return None
        return place

    def _IndexScan(
        self,
        index: TaskIndex,
        start_key: Entry,
        end_key: Entry | None = None,
        max_rows: int | None = None,
    ) -> list[Any]:
        rows = None if max_rows is None else max(0, max_rows)
        found = islice(index.between(start_key, end_key), rows)
        return [entry[-1] for entry in found]

    def OldestTask(self) -> Any:
        """Return the task that is due first, or None."""
        return next((task for _, _, task in self._sorted_by_eta), None)

    def Oldest(self) -> int | None:
        """Return when the first task is due (microseconds), or None."""
        return next((eta_usec for eta_usec, _, _ in self._sorted_by_eta), None)
