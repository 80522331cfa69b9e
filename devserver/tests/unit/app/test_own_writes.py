"""Which files an app writes itself whenever it starts."""

import math
import os
from pathlib import Path

from gae_devserver.app.own_writes import OwnWrites


def test_a_file_that_the_app_writes_at_each_start(tmp_path: Path) -> None:
    """It restarts the app twice, and then only after a start; code always does."""
    data, other, code = (tmp_path / name for name in ("a.json", "b.json", "a.py"))
    for file in (data, other, code):
        file.write_text("x")
        os.utime(file, (1000.0, 1000.0))
    own = OwnWrites("")
    restarted = [own.edits({data}, math.inf) for _ in range(4)]
    assert restarted == [{data}, {data}, set(), set()]
    assert own.edits({data, code}, 1000.0) == {code}
    assert own.edits({data}, 1000.0) == set()
    assert own.edits({data}, 900.0) == {data}
    assert [own.edits({code}, math.inf) for _ in range(4)] == [{code}] * 4
    # only starts in a row
    for _ in range(3):
        assert own.edits({other}, math.inf) == {other}
        assert own.edits({other}, 900.0) == {other}
