"""When the two kinds of schedule in cron.yaml run: at intervals, or on certain days."""

import calendar
import dataclasses
import itertools
import math
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

_DAY = timedelta(days=1)
_MINUTE = timedelta(minutes=1)


class Schedule(Protocol):
    """When a job runs."""

    @property
    def zone(self) -> ZoneInfo:
        """The time zone of its times."""
        ...

    def next_after(self, moment: float) -> float:
        """Return the next run after a moment; both in seconds since the epoch."""
        ...


@dataclasses.dataclass(frozen=True)
class Interval:
    """At intervals, such as "every 5 minutes from 10:00 to 14:00 on mon,tue"."""

    every: timedelta
    zone: ZoneInfo
    weekdays: frozenset[int] = frozenset(range(7))
    """0 is Monday."""
    times: tuple[time, time] | None = None
    """The first time of each day, and the last; None: all day, from any moment on."""

    def next_after(self, moment: float) -> float:
        """Return the next run after a moment, which is the end of the last run."""
        start = datetime.fromtimestamp(moment, UTC)
        run = self._from(start)
        while run.astimezone(self.zone).weekday() not in self.weekdays:
            # the other runs of this day would not be accepted either
            midnight = self._instant(run.astimezone(self.zone).date() + _DAY, time())
            if self.times is None:
                skipped = math.ceil((midnight - start) / self.every) - 1
                run = self._from(start + skipped * self.every)
            else:
                run = self._from(midnight - timedelta.resolution)
        return run.timestamp()

    def _from(self, start: datetime) -> datetime:
        """Return the run that follows `start` on any day of the week."""
        if self.times is None:
            return (start + self.every).replace(second=0, microsecond=0)
        first, last = self.times
        began, following = self._last(start, first), self._next(start, first)
        run = began + ((start - began) // self.every + 1) * self.every
        for moment in (start, run):
            ended = self._last(moment, last)
            if self._last(moment, first) <= ended != moment:
                return following
        return min(run, following)

    def _last(self, moment: datetime, wall_time: time) -> datetime:
        """Return when the clocks showed that time for the last time, by `moment`."""
        day = moment.astimezone(self.zone).date()
        while (instant := self._instant(day, wall_time)) > moment:
            day -= _DAY
        return instant

    def _next(self, moment: datetime, wall_time: time) -> datetime:
        """Return when the clocks show that time next, after `moment`."""
        day = moment.astimezone(self.zone).date()
        while (instant := self._instant(day, wall_time)) <= moment:
            day += _DAY
        return instant

    def _instant(self, day: date, wall_time: time) -> datetime:
        """Return when a day's clocks first show a time, or the next one that exists."""
        local = datetime.combine(day, wall_time)
        while not (found := _instants(local, self.zone)):
            local += _MINUTE
        return found[0]


@dataclasses.dataclass(frozen=True)
class Days:
    """On certain days, such as "1st,third mon of sep,oct 17:00"."""

    at: time
    zone: ZoneInfo
    months: frozenset[int] = frozenset(range(1, 13))
    monthdays: frozenset[int] = frozenset()
    """Days of the month; empty: the weekdays decide."""
    weekdays: frozenset[int] = frozenset(range(7))
    """0 is Monday."""
    ordinals: frozenset[int] = frozenset(range(1, 6))
    """1 is the first of these weekdays in a month."""

    def next_after(self, moment: float) -> float:
        """Return the next run: none if the clocks skip the time, two if they repeat."""
        start = datetime.fromtimestamp(moment, UTC)
        today = start.astimezone(self.zone).date()
        runs = (
            instant
            for day in self._days_from(today)
            for instant in _instants(datetime.combine(day, self.at), self.zone)
        )
        return next(run for run in runs if run > start).timestamp()

    def _days_from(self, first: date) -> Iterator[date]:
        """Yield the days on which the job runs, in their order and without an end."""
        for number in itertools.count(first.year * 12 + first.month - 1):
            year, month = number // 12, number % 12 + 1
            if month not in self.months:
                continue
            for day in range(1, calendar.monthrange(year, month)[1] + 1):
                found = date(year, month, day)
                if found >= first and self._has(found):
                    yield found

    def _has(self, day: date) -> bool:
        if self.monthdays:
            return day.day in self.monthdays
        return day.weekday() in self.weekdays and (day.day + 6) // 7 in self.ordinals


def _instants(local: datetime, zone: ZoneInfo) -> list[datetime]:
    """Return when the clocks of a zone show a time: once, twice or never."""
    both = {local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)}
    return sorted(
        instant
        for instant in both
        if instant.astimezone(zone).replace(tzinfo=None, fold=0) == local
    )
