"""When a schedule of cron.yaml runs, computed by hand and by the Cloud SDK's parser."""

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import pytz

from gae_devserver.config.schedule import ScheduleError, parse

# a Tuesday
START = "2026-03-03T10:20:30+00:00"


def zone_of(name: str) -> ZoneInfo:
    """Return a time zone, on a system without a tz database too."""
    with pytz.open_resource(name) as data:
        return ZoneInfo.from_file(data, key=name)


def runs(schedule: str, start: float, zone: ZoneInfo, count: int) -> list[float]:
    """Return the first runs after a moment."""
    parsed, found = parse(schedule, zone), [start]
    while len(found) <= count:
        found.append(parsed.next_after(found[-1]))
    return found[1:]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("every 5 minutes", ["03-03 10:25", "03-03 10:30"]),
        ("every 24 hours", ["03-04 10:20", "03-05 10:20"]),
        ("EVERY 90 mins", ["03-03 11:50", "03-03 13:20"]),
        ("every 12 hours synchronized", ["03-03 12:00", "03-04 00:00"]),
        (
            "every 90 minutes from 09:00 to 12:00",
            ["03-03 10:30", "03-03 12:00", "03-04 09:00"],
        ),
        (
            "every 2 hours from 22:00 to 02:00",
            ["03-03 22:00", "03-04 00:00", "03-04 02:00", "03-04 22:00"],
        ),
        ("every 5 minutes on mon", ["03-09 00:00", "03-09 00:05"]),
        ("every 7 hours from 00:00 to 23:59 on wed,sun", ["03-04 00:00"]),
        ("every day 00:00", ["03-04 00:00", "03-05 00:00"]),
        ("every tuesday 10:21", ["03-03 10:21", "03-10 10:21"]),
        ("every mon,wed 9:00", ["03-04 09:00", "03-09 09:00"]),
        ("2nd,third mon,wed,thu of march 17:00", ["03-09 17:00", "03-11 17:00"]),
        ("1st monday of sep,oct,nov 17:00", ["09-07 17:00", "10-05 17:00"]),
        ("fifth monday 09:00", ["03-30 09:00", "06-29 09:00"]),
        ("1 of jan,april,july,oct 00:00", ["04-01 00:00", "07-01 00:00"]),
        ("1,15 of month 09:00", ["03-15 09:00", "04-01 09:00"]),
        ("31 of month 09:00", ["03-31 09:00", "05-31 09:00"]),
        ("2nd day 09:00", ["04-02 09:00", "05-02 09:00"]),
        ("every mon of quarter 09:00", ["04-06 09:00", "04-13 09:00"]),
        ("7 of third month of quarter 09:00", ["03-07 09:00", "06-07 09:00"]),
    ],
)
def test_runs_in_utc(schedule: str, expected: list[str]) -> None:
    """Each form of the grammar runs at the moments that it names."""
    start = datetime.fromisoformat(START).timestamp()
    found = runs(schedule, start, zone_of("UTC"), len(expected))
    assert [f"{datetime.fromtimestamp(run, UTC):%m-%d %H:%M}" for run in found] == (
        expected
    )


@pytest.mark.parametrize(
    ("schedule", "start", "expected"),
    [
        # on 8 March, the clocks of New York go from 2:00 to 3:00; on 1 November, back
        ("every day 02:30", "03-07 12:00", ["03-09 06:30"]),
        ("every day 03:30", "03-07 12:00", ["03-08 07:30", "03-09 07:30"]),
        ("every day 01:30", "10-31 12:00", ["11-01 05:30", "11-01 06:30"]),
        ("every 2 hours from 01:00 to 06:00", "03-08 05:30", ["03-08 06:00"]),
        ("every 30 minutes from 02:30 to 03:30", "03-08 06:59", ["03-08 07:00"]),
        ("every 12 hours synchronized", "03-08 01:00", ["03-08 05:00", "03-08 17:00"]),
        ("every 24 hours", "03-07 18:00", ["03-08 18:00"]),
    ],
)
def test_runs_when_the_clocks_change(
    schedule: str, start: str, expected: list[str]
) -> None:
    """A time of day that is skipped does not run; one that is repeated runs twice."""
    moment = datetime.fromisoformat(f"2026-{start}+00:00").timestamp()
    found = runs(schedule, moment, zone_of("America/New_York"), len(expected))
    assert [f"{datetime.fromtimestamp(run, UTC):%m-%d %H:%M}" for run in found] == (
        expected
    )


@pytest.mark.parametrize(
    ("schedule", "fact"),
    [
        ("", "'every'"),
        ("0 9 * * *", "'*'"),
        ("every 1 hour", "'hours'"),
        ("every 5", "'minutes'"),
        ("every 0 minutes", "1 minute"),
        ("every 5 minutes from 9:00", "'to'"),
        ("every 5 minutes from 9:00 to 10:00 synchronized", "'synchronized'"),
        ("every 7 minutes synchronized", "24 hours"),
        ("every 30 hours on mon", "24 hours"),
        ("every day", "09:00"),
        ("every day 24:00", "'24:00'"),
        ("every day 9:00 of jan", "'of'"),
        ("every monday,day 9:00", "'day'"),
        ("32 of month 9:00", "'32'"),
        ("30,31 of feb 9:00", "30"),
        ("1 monday 9:00", "'of'"),
        ("1 of 4th month of quarter 9:00", "'4th'"),
    ],
)
def test_no_schedule(schedule: str, fact: str) -> None:
    """The error names what is wrong, or what is missing."""
    with pytest.raises(ScheduleError) as caught:
        parse(schedule, zone_of("UTC"))
    assert fact in str(caught.value)


# --- compared with the Cloud SDK ------------------------------------------------------

ZONES = (
    "UTC",
    "America/New_York",
    "Europe/Berlin",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
)
# within two days of these, the clocks of one of the zones change
CHANGES = ("2026-03-08", "2026-11-01", "2027-03-28", "2027-10-31", "2028-04-01")
PARSER = """\
import datetime, json, sys
from google.appengine.cron import groctimespecification
import pytz
answers = []
for text, zone, start, count in json.load(sys.stdin):
    try:
        schedule = groctimespecification.GrocTimeSpecification(text, zone)
        moment = datetime.datetime.fromtimestamp(start, pytz.utc)
        answers.append([t.timestamp() for t in schedule.GetMatches(moment, count)])
    except Exception:
        answers.append(None)
json.dump(answers, sys.stdout)
"""


def schedules(rng: random.Random) -> Iterator[str]:
    """Yield random schedules; one in eight has lost a word, and is mostly invalid."""
    weekdays = ["mon", "tuesday", "wed", "thursday", "fri", "saturday", "sun"]
    months = ["jan", "february", "mar", "april", "may", "june", "september", "dec"]
    ordinals = ["1st", "second", "3rd", "fourth", "5th", "first", "third", "fifth"]

    def some(words: list[str], most: int = 3) -> str:
        return ",".join(rng.sample(words, rng.randint(1, most)))

    def wall_time() -> str:
        return f"{rng.choice(('0', ''))}{rng.randint(0, 9)}:{rng.randint(0, 59):02}"

    def interval() -> str:
        on = rng.choice(("", f" on {some(weekdays)}"))
        number = rng.choice((30, 45, 60, 90, 120, 240)) if on else rng.randint(0, 2000)
        unit = rng.choice(("mins", "minutes"))
        if not on and rng.random() < 0.3:
            number, unit = rng.randint(1, 60), "hours"
        if on and rng.random() < 0.5:
            # the SDK's parser passes over a run when the next range begins too soon
            limits = f" from {wall_time()} to 18:{rng.randint(0, 59):02}"
        else:
            limits = rng.choice(("", f" from {wall_time()} to {wall_time()}"))
            limits = rng.choice((limits, " synchronized")) if not on else ""
        return f"every {number} {unit}{limits}{on}"

    def days() -> str:
        number = [str(day) for day in range(33)]
        which = rng.choice(
            (
                f"every {some(weekdays)}",
                "every day",
                f"{some(ordinals)} {some(weekdays)}",
                f"{some(ordinals)} day",
                f"{some(number, 5)}",
            )
        )
        of = rng.choice(
            (some(months), "month", "quarter", "1st,third month of quarter")
        )
        return f"{which}{rng.choice((f' of {of}', ''))} {wall_time()}"

    while True:
        words = rng.choice((interval, days))().split()
        if rng.random() < 1 / 8:
            del words[rng.randrange(len(words))]
        yield " ".join(words)


def test_the_cloud_sdk_agrees() -> None:
    """Random schedules run when the Cloud SDK's parser says, or both refuse them."""
    command = shutil.which("dev_appserver.py")
    if command is None:
        pytest.skip("the Cloud SDK with dev_appserver.py is not installed")
    sdk = Path(command).resolve().parents[1] / "platform" / "google_appengine"
    path = [
        str(sdk),
        str(sdk / "lib" / "py3_antlr3"),
        str(Path(pytz.__file__).parents[1]),
    ]
    rng, zones = random.Random(14), {name: zone_of(name) for name in ZONES}
    questions: list[tuple[str, str, float, int]] = []
    for schedule, _ in zip(schedules(rng), range(3000), strict=False):
        day = datetime.fromisoformat(f"{rng.choice(CHANGES)}T00:00:00+00:00")
        start = day + timedelta(seconds=rng.randrange(-2 * 86400, 3 * 86400))
        questions.append((schedule, rng.choice(ZONES), start.timestamp(), 4))
    answered = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            f"import sys; sys.path[:0] = {path}\n{PARSER}",
        ],
        input=json.dumps(questions),
        capture_output=True,
        text=True,
        check=False,
    )
    assert answered.returncode == 0, answered.stderr
    expected = json.loads(answered.stdout)

    def ours(schedule: str, zone: str, start: float, count: int) -> list[float] | None:
        try:
            return runs(schedule, start, zones[zone], count)
        except ScheduleError:
            return None

    found = [ours(text, zone, at, count) for text, zone, at, count in questions]
    different = [
        (question, theirs, ours_)
        for question, theirs, ours_ in zip(questions, expected, found, strict=True)
        if theirs != ours_
    ]
    assert different == []
    assert sum(answer is None for answer in expected) < 1500
