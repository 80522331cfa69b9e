"""The names of tasks that are gone, which cannot be used again for some time."""

from collections.abc import Callable, Iterable


class Tombstones:
    """Names that stay taken for a number of seconds after their task is gone."""

    def __init__(
        self, seconds: Callable[[], float], gettime: Callable[[], float]
    ) -> None:
        """Start without names.

        `seconds` returns how long they stay taken, and `gettime` the server's time.
        """
        self._seconds = seconds
        self._gettime = gettime
        self._since: dict[str, float] = {}  # the oldest first

    def add(self, name: str, since: float | None = None) -> None:
        """Note that the task with this name is gone, now or since a moment."""
        self._add([name], self._gettime() if since is None else since)

    def add_all(self, names: Iterable[str]) -> None:
        """Note that the tasks with these names are gone now."""
        self._add(names, self._gettime())

    def _add(self, names: Iterable[str], since: float) -> None:
        for name in names:
            self._since.pop(name, None)
            self._since[name] = since
        while self._since and (oldest := next(iter(self._since))) not in self:
            del self._since[oldest]

    def __contains__(self, name: str) -> bool:
        since = self._since.get(name)
        return since is not None and self._gettime() < since + self._seconds()

    def clear(self) -> None:
        """Forget all names."""
        self._since.clear()
