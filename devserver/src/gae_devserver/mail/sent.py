"""The mails that the app has sent, kept for the State API and for the next run."""

import dataclasses
import itertools
import json
from collections import deque
from typing import Any, Self

from google.appengine.api import mail_service_pb2 as pb

from gae_devserver.clock import Clock
from gae_devserver.storage.storage import Storage

_KIND = "mail"
_MAX_MAILS = 1000
_MAX_BYTES = 64 * 2**20


@dataclasses.dataclass(frozen=True)
class SentMail:
    """A mail that the app has sent."""

    number: int
    """Counts the mails from 1 on."""
    sent: float
    """When, by the server's clock."""
    to_admins: bool
    """Whether it is for the administrators of the project."""
    message: Any
    """The SDK's MailMessage."""

    @property
    def size(self) -> int:
        """The bytes of the message."""
        return self.message.ByteSize()

    @property
    def record(self) -> bytes:
        """What the storage keeps: a line of JSON, and the message."""
        head = json.dumps({"sent": self.sent, "to_admins": self.to_admins})
        return head.encode() + b"\n" + self.message.SerializeToString()

    @classmethod
    def from_record(cls, name: str, record: bytes) -> Self:
        """Return a mail of the storage."""
        head, _, message = record.partition(b"\n")
        fields = json.loads(head)
        return cls(int(name), message=pb.MailMessage.FromString(message), **fields)


class SentMails:
    """The last mails, in the order in which they were sent."""

    def __init__(
        self,
        clock: Clock,
        storage: Storage | None,
        *,
        max_mails: int = _MAX_MAILS,
        max_bytes: int = _MAX_BYTES,
    ) -> None:
        """Read the mails of the last run, if there is a storage.

        The oldest mails are dropped when there are more than `max_mails`, or when all
        together have more than `max_bytes`.
        """
        self._clock = clock
        self._storage = storage
        self._max_mails = max_mails
        self._max_bytes = max_bytes
        self._mails: deque[SentMail] = deque()
        self._bytes = 0
        self._last = 0
        self.changes = 0
        """Goes up with each change."""
        if storage is not None:
            with storage.reading("a mail"):
                for name, record in storage.records(_KIND):
                    self._append(SentMail.from_record(name, record))

    def add(self, message: Any, *, to_admins: bool) -> None:
        """Keep a mail that is sent now."""
        mail = SentMail(self._last + 1, self._clock.now(), to_admins, message)
        self._append(mail)
        if self._storage is not None:
            self._storage.put_record(_KIND, _name(mail), mail.record)
        while len(self._mails) > self._max_mails or self._bytes > self._max_bytes:
            self._drop_oldest()

    def clear(self) -> int:
        """Delete all mails; return how many there were."""
        count = len(self._mails)
        while self._mails:
            self._drop_oldest()
        self.changes += 1
        return count

    def _drop_oldest(self) -> None:
        oldest = self._mails.popleft()
        self._bytes -= oldest.size
        if self._storage is not None:
            self._storage.put_record(_KIND, _name(oldest), None)

    def _append(self, mail: SentMail) -> None:
        self._mails.append(mail)
        self._bytes += mail.size
        self._last = mail.number
        self.changes += 1

    def after(self, number: int, limit: int) -> list[SentMail]:
        """Return up to `limit` mails that were sent after this one."""
        return [mail for mail in self._mails if mail.number > number][:limit]

    def before(self, number: int | None, limit: int) -> list[SentMail]:
        """Return up to `limit` mails that were sent before this one, the last first.

        None: return the last ones.
        """
        mails = reversed(self._mails)
        found = (mail for mail in mails if number is None or mail.number < number)
        return list(itertools.islice(found, limit))

    def find(self, number: int) -> SentMail | None:
        """Return a mail, if it is kept."""
        return next((mail for mail in self._mails if mail.number == number), None)


def _name(mail: SentMail) -> str:
    """Return the name of a mail's record, by which records are sorted."""
    return f"{mail.number:010}"
