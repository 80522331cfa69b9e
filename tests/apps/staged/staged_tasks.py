"""Tasks that end in chosen ways, put beside a staged copy of an app.

None of them calls an API: plain gunicorn has no services behind it.
"""

from google.appengine.ext import deferred


def succeed() -> None:
    """Do nothing."""


def fail() -> None:
    """Raise what any bug would."""
    raise ValueError("the task fails on purpose")


def fail_for_good() -> None:
    """Ask to be dropped."""
    raise deferred.PermanentTaskFailure("never again")


def fail_this_time() -> None:
    """Ask to be retried."""
    raise deferred.SingularTaskFailure("once more")
