"""The rate and the bucket size of a queue."""


class TokenBucket:
    """Lets `size` tasks start at once, then `rate` tasks a second.

    Source: https://cloud.google.com/appengine/docs/standard/python3/reference/queueyaml
    """

    def __init__(self, rate: float, size: int, now: float) -> None:
        self._rate = rate
        # a bucket without room for one token would hold the queue forever
        self._size = float(max(1, size))
        self._tokens = self._size
        self._filled = now

    def _fill(self, now: float) -> None:
        gained = max(0.0, now - self._filled) * self._rate
        self._tokens = min(self._size, self._tokens + gained)
        # this moves back after a reset of the clock; otherwise the bucket would stay
        # empty until the old time is reached again
        self._filled = now

    def take(self, now: float) -> None:
        """Take one token."""
        self._fill(now)
        self._tokens -= 1.0

    def is_ready(self, now: float) -> bool:
        """Return whether there is a token."""
        # rounding must not hide a token that is due in this microsecond
        return self.next_token(now) <= now + 1e-6

    def next_token(self, now: float) -> float:
        """Return when the next token is available, in seconds since the epoch."""
        self._fill(now)
        return now + max(0.0, 1.0 - self._tokens) / self._rate
