"""The server's clock."""

import time

import pytest

from gae_devserver.clock import Clock

# the real time that passes between two lines of a test on a busy machine
SLACK = 30.0


def test_it_advances_to_a_moment() -> None:
    """Time goes on from that moment, and a second advance adds to the first."""
    clock = Clock()
    for seconds in (3600.0, 5000.0):
        moment = time.time() + seconds
        clock.move_to(moment)
        assert moment - 1e-6 <= clock.now() < moment + SLACK
        assert clock.offset == pytest.approx(seconds, abs=SLACK)


def test_it_never_goes_back() -> None:
    """A moment in the past changes nothing: its tasks have run."""
    clock = Clock(100.0)
    clock.move_to(clock.now() - 50)
    assert clock.offset == 100.0


def test_a_reset_returns_to_real_time() -> None:
    """A reset takes back every advance."""
    clock = Clock(10.0**6)
    clock.reset()
    assert clock.offset == 0.0
    before = time.time()
    assert before <= clock.now() <= time.time()
