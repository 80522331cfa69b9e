"""Reads a schedule of cron.yaml, such as "every 24 hours" or "1st monday 09:00".

    every N hours|minutes|mins [from HH:MM to HH:MM | synchronized] [on WEEKDAYS]
    every|ORDINALS  day|WEEKDAYS  [of MONTHS] HH:MM
    DAYS of MONTHS HH:MM

MONTHS is a list of months, or "month", "quarter", "1st,third month of quarter".
Source: https://cloud.google.com/appengine/docs/standard/scheduling-jobs-with-cron-yaml
and what `gcloud app deploy` accepts beyond that page: "on", and "quarter".
"""

import calendar
import difflib
import re
from collections.abc import Iterator, Mapping
from datetime import time, timedelta
from zoneinfo import ZoneInfo

from gae_devserver.config.schedule_times import Days, Interval, Schedule

_ORDINALS = {"1st": 1, "2nd": 2, "3rd": 3, "4th": 4, "5th": 5}
_ORDINALS |= {"first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5}


def _names(full: list[str]) -> dict[str, int]:
    """Return the number of each name, which may be cut to three letters."""
    names = list(enumerate(name.lower() for name in full))
    return {text: number for number, name in names for text in (name, name[:3]) if text}


_WEEKDAYS = _names(list(calendar.day_name))
_MONTHS = _names(list(calendar.month_name))
_UNITS = {"hours": timedelta(hours=1)}
_UNITS |= dict.fromkeys(("minutes", "mins"), timedelta(minutes=1))
_WORDS = ("every", "day", "month", "quarter", "of", "from", "to", "on", "synchronized")
_ALL_WORDS = sorted(
    {*_WORDS, *_UNITS, *_ORDINALS, *_WEEKDAYS, *_MONTHS}, key=len, reverse=True
)
_TIME = r"(?:[01]?\d|2[0-3]):[0-5]\d"
# the longest word first: words need no space between them
_TOKEN = re.compile(
    rf"\s*({'|'.join(_ALL_WORDS)}|{_TIME}(?!\d)|\d+(?![\d:])|,)", re.ASCII
)
_ONE_DAY = timedelta(days=1)
_MONTHDAYS = {text: day for day in range(1, 32) for text in (f"{day}", f"{day:02}")}
# the days of each month in a leap year
_LENGTHS = {month: calendar.monthrange(2000, month)[1] for month in range(1, 13)}


class ScheduleError(ValueError):
    """A text is not a schedule; the message says why."""


def parse(text: str, zone: ZoneInfo) -> Schedule:
    """Return the schedule that a text describes, in a time zone.

    Raises:
        ScheduleError: it describes none.
    """
    tokens = _Tokens(text)
    tokens.skip("every")
    is_interval = tokens.at > 0 and tokens.next.isdecimal()
    tokens.at = 0
    schedule = _interval(tokens, zone) if is_interval else _days(tokens, zone)
    if tokens.next:
        raise ScheduleError(f"did not expect '{tokens.next}' {tokens.place()}")
    return schedule


class _Tokens:
    """The words, numbers, times and commas of a schedule."""

    def __init__(self, text: str) -> None:
        self._tokens = list(_split(text.lower()))
        self.at = 0

    @property
    def next(self) -> str:
        """The next one, or an empty text at the end."""
        return self._tokens[self.at] if self.at < len(self._tokens) else ""

    def skip(self, word: str) -> bool:
        """Go on behind a word if it is next."""
        is_next = self.next == word
        self.at += is_next
        return is_next

    def take(self, what: str, pattern: str) -> str:
        """Return the next one, which has to match a pattern."""
        if not re.fullmatch(pattern, self.next):
            found = f", not '{self.next}'" if self.next else ""
            raise ScheduleError(f"expected {what} {self.place()}{found}")
        self.at += 1
        return self._tokens[self.at - 1]

    def take_list(self, what: str, numbers: Mapping[str, int]) -> frozenset[int]:
        """Return the numbers of the names in a list, which has commas."""
        pattern = "|".join(numbers)
        found = {numbers[self.take(what, pattern)]}
        while self.skip(","):
            found.add(numbers[self.take(what, pattern)])
        return frozenset(found)

    def take_time(self) -> time:
        """Return the time, which is next."""
        hour, _, minute = self.take("a time such as 09:00", _TIME).partition(":")
        return time(int(hour), int(minute))

    def place(self) -> str:
        """Return where the next one stands."""
        before = " ".join(self._tokens[: self.at]).replace(" ,", ",")
        return f"after '{before}'" if before else "at the beginning"


def _split(text: str) -> Iterator[str]:
    at, text = 0, text.strip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            unknown = text[at:].split()[0]
            near = difflib.get_close_matches(unknown, _ALL_WORDS, n=1)
            hint = f" (did you mean '{near[0]}'?)" if near else ""
            raise ScheduleError(f"a schedule has no '{unknown}'{hint}")
        yield match[1]
        at = match.end()


def _interval(tokens: _Tokens, zone: ZoneInfo) -> Interval:
    tokens.skip("every")
    number = int(tokens.take("a number", r"\d{1,5}"))
    every = number * _UNITS[tokens.take("'hours' or 'minutes'", "|".join(_UNITS))]
    if not every:
        raise ScheduleError("an interval is at least 1 minute")
    times = None
    if tokens.skip("from"):
        first = tokens.take_time()
        tokens.take("'to'", "to")
        times = first, tokens.take_time()
    elif tokens.skip("synchronized"):
        if every > _ONE_DAY or _ONE_DAY % every:
            raise ScheduleError(
                "a synchronized interval must divide 24 hours, as 2 hours do"
            )
        times = time(0, 0), time(23, 59)
    weekdays = frozenset(range(7))
    if tokens.skip("on") and not tokens.skip("day"):
        weekdays = tokens.take_list("a day of the week", _WEEKDAYS)
        if every > _ONE_DAY and len(weekdays) < 7:
            raise ScheduleError("with 'on', an interval is at most 24 hours")
    return Interval(every, zone, weekdays, times)


def _days(tokens: _Tokens, zone: ZoneInfo) -> Days:
    monthdays: frozenset[int] = frozenset()
    ordinals, weekdays = frozenset(range(1, 6)), frozenset(range(7))
    months = frozenset(_LENGTHS)
    if tokens.next.isdecimal():
        monthdays = tokens.take_list("a day of the month", _MONTHDAYS)
        tokens.take("'of'", "of")
        months = _months(tokens)
    else:
        is_every = tokens.skip("every")
        if not is_every:
            what = "'every', an ordinal such as '1st', or a day of the month"
            ordinals = tokens.take_list(what, _ORDINALS)
        if not tokens.skip("day"):
            weekdays = tokens.take_list("'day' or a day of the week", _WEEKDAYS)
        elif not is_every:
            # "2nd day" is a day of the month, not of the second week
            monthdays = ordinals
        if tokens.skip("of"):
            months = _months(tokens)
    if monthdays and min(monthdays) > max(_LENGTHS[month] for month in months):
        raise ScheduleError(f"no such month has a day {min(monthdays)}")
    return Days(tokens.take_time(), zone, months, monthdays, weekdays, ordinals)


def _months(tokens: _Tokens) -> frozenset[int]:
    if tokens.skip("month"):
        return frozenset(_LENGTHS)
    offsets = frozenset({1})
    if not tokens.skip("quarter"):
        if tokens.next not in _ORDINALS:
            return tokens.take_list("'month', 'quarter' or a month", _MONTHS)
        firsts = {word: number for word, number in _ORDINALS.items() if number <= 3}
        offsets = tokens.take_list("'1st', '2nd' or '3rd'", firsts)
        for word in ("month", "of", "quarter"):
            tokens.take(f"'{word}'", word)
    return frozenset(offset + 3 * quarter for offset in offsets for quarter in range(4))
