"""The measurement of the storage runs. Its results are for people to read."""

import pytest

from tests.bench.storage import show


def test_storage_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    """Each kind of call has a row: cost among few, among many, and their ratio."""
    show(300, 50)

    head, *rows = capsys.readouterr().out.splitlines()
    assert "300 stored" in head
    names = [row.split("  ")[0] for row in rows]
    assert names == ["a put", "an add due now", "an add due last"]
    assert all(float(row.split()[-1]) > 0 for row in rows)
