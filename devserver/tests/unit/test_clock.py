"""The server's clock."""

import time

import pytest

from gae_devserver.clock import Clock


def test_it_starts_with_real_time() -> None:
    """Before an advance the clock says what the machine's says."""
    clock = Clock()
    before = time.time()
    now = clock.now()
    assert clock.offset == 0.0
    assert before <= now <= time.time()


def test_it_moves_to_a_moment_and_goes_on_from_there() -> None:
    """After an advance it is that moment or a little later, and time goes on."""
    clock = Clock()
    moment = clock.now() + 3600
    clock.move_to(moment)
    assert clock.now() == pytest.approx(moment, abs=30)
    assert clock.now() >= moment - 1e-6
    assert clock.offset == pytest.approx(3600, abs=30)


def test_advances_add_up() -> None:
    """A second advance counts from where the first has led."""
    clock = Clock()
    clock.move_to(clock.now() + 100)
    clock.move_to(clock.now() + 50)
    assert clock.offset == pytest.approx(150, abs=1e-3)


def test_it_never_goes_back() -> None:
    """A moment that has passed changes nothing: tasks that ran have run."""
    clock = Clock()
    clock.move_to(clock.now() + 100)
    offset = clock.offset
    clock.move_to(clock.now() - 50)
    assert clock.offset == offset


def test_a_reset_returns_to_real_time() -> None:
    """A reset takes every advance back."""
    clock = Clock()
    clock.move_to(clock.now() + 10**6)
    clock.reset()
    assert clock.offset == 0.0
    assert clock.now() == pytest.approx(time.time(), abs=30)
