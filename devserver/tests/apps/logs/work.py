"""What requests and tasks of the app do; it prints, logs and raises."""

import logging
import sys

logging.basicConfig(format="%(levelname)s of %(name)s: %(message)s")


class OddError(Exception):
    """An exception that has no text."""

    def __str__(self):
        """Fail."""
        raise RuntimeError("never shown")


def explode(*_):
    """Print, log, and raise an exception that another one has caused."""
    print("before")
    logging.getLogger("my.logger").warning("careful")
    try:
        raise KeyError("first")
    except KeyError as error:
        raise ValueError("boom") from error


def catch(*_):
    """Log an exception, and go on."""
    try:
        raise OddError
    except OddError:
        logging.exception("caught")
    print("went on")


def group(*_):
    """Raise a group of exceptions, as far as Python has them."""
    if sys.version_info < (3, 11):
        raise ValueError("a group")
    raise ExceptionGroup("a group", [ValueError("one"), KeyError("two")])


def unfinished(*_):
    """Print without the end of a line."""
    print("no", end=" ")
    sys.stdout.write("end")


def mistake(*_):
    """Log with an argument that the format cannot take."""
    logging.warning("%d", "no number")


WORK = {f.__name__: f for f in (explode, catch, group, unfinished, mistake)}
