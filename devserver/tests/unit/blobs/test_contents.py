"""The contents of blobs: nothing is left of one that is deleted or incomplete."""

from collections.abc import Iterator

from gae_devserver.blobs.contents import PIECE, Contents


class Kept:
    """Records in memory."""

    def __init__(self) -> None:
        self.all: dict[tuple[str, str], bytes] = {}

    def records(self, kind: str) -> Iterator[tuple[str, bytes]]:
        """Yield name and contents of every record of a kind."""
        return ((key[1], record) for key, record in self.all.items() if key[0] == kind)

    def record(self, kind: str, name: str) -> bytes | None:
        """Return the contents of a record, or None."""
        return self.all.get((kind, name))

    def put_record(self, kind: str, name: str, record: bytes | None) -> None:
        """Keep a record; None: delete it."""
        if record is None:
            self.all.pop((kind, name), None)
        else:
            self.all[kind, name] = record

    def flush(self) -> None:
        """Do nothing."""


def test_nothing_is_left_of_a_blob() -> None:
    """It makes no difference whether it was complete, or a reset came first."""
    kept = Kept()
    contents = Contents(kept)
    contents.put("stays", b"x" * PIECE)
    before = dict(kept.all)

    for size in (0, 1, PIECE, PIECE + 1):
        contents.put("a", b"x" * size)
        contents.delete("a")
        assert kept.all == before

    contents.write("killed").write(bytes(3 * PIECE))
    contents = Contents(kept)
    assert kept.all == before

    writing = contents.write("reset")
    writing.write(bytes(2 * PIECE))
    kept.all = dict(before)
    writing.write(bytes(2 * PIECE))
    writing.discard()
    assert kept.all == before
    assert contents.size("reset") is None
