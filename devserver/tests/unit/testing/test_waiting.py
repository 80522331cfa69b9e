"""`wait_until` returns the first true result, or fails with the condition in words."""

import itertools

import pytest

from gae_devserver.testing import wait_until


def test_the_first_true_result() -> None:
    """It is returned, and the condition is not called again."""
    results = iter(["", "first", "second"])

    assert wait_until(lambda: next(results), "a text") == "first"
    assert next(results) == "second"


def test_a_condition_that_does_not_come_true() -> None:
    """The error names it and the time."""
    with pytest.raises(TimeoutError, match=r"0\.05 s.*a miracle"):
        wait_until(lambda: None, "a miracle", seconds=0.05)


def test_it_is_asked_once_more_at_the_end() -> None:
    """This holds even for a time of zero."""
    calls = itertools.count(1)

    assert wait_until(lambda: next(calls), "a call", seconds=0) == 1
