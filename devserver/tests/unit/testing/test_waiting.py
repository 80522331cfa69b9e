"""`wait_until` returns the first true result, or fails with the condition in words."""

import pytest

from gae_devserver.testing import wait_until


def test_the_first_true_result() -> None:
    """The first true result is returned, even without any time; no call follows."""
    results = iter(["", "first", "second", "third"])

    assert wait_until(lambda: next(results), "a text") == "first"
    assert wait_until(lambda: next(results), "a text", seconds=0) == "second"
    assert next(results) == "third"


def test_a_condition_that_does_not_come_true() -> None:
    """The error names the condition and the time."""
    with pytest.raises(TimeoutError, match=r"0\.05 s.*a miracle"):
        wait_until(lambda: None, "a miracle", seconds=0.05)
