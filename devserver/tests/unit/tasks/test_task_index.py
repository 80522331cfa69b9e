"""The index of a queue's tasks: in order, and quick among many."""

import bisect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gae_devserver.tasks import task_index
from gae_devserver.tasks.task_index import Entry, TaskIndex

CHANGES = st.lists(st.tuples(st.booleans(), st.integers(0, 99)), max_size=300)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let some entries be enough for many blocks."""
    monkeypatch.setattr(task_index, "_LIMIT", 4)


@given(changes=CHANGES, start=st.integers(-1, 100), end=st.integers(-1, 100))
def test_it_is_a_sorted_list(
    changes: list[tuple[bool, int]], start: int, end: int
) -> None:
    """Whatever comes and goes, it has what a sorted list would have."""
    index, expected = TaskIndex(), list[Entry]()
    for add, number in changes:
        entry = (number, "task")
        if add and entry not in expected:
            index.add(entry)
            bisect.insort(expected, entry)
        place = index.find(entry)
        if not add and place is not None and index[place] == entry:
            assert index.pop(place) == entry
            expected.remove(entry)
    assert list(index) == expected
    assert len(index) == len(expected)
    assert [e for e in expected if e >= (start,)] == list(index.between((start,)))
    assert list(index.between((start,), (end,))) == [
        e for e in expected if (start,) <= e < (end,)
    ]
    assert all(index._blocks)
