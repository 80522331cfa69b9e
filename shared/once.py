"""Let a function that is deferred do its work once for each task.

To do without it, delete this file, and the lines in counter.py that name it.
"""

import functools
import inspect
import logging
import os
import zlib
from collections.abc import Callable
from typing import Any

logger = logging.getLogger(__name__)

# What is kept for each entity and function: 100 lists of up to 100 tasks, some 300 KB
# with the names that App Engine chooses; a task reads and writes one list. The bound
# means: after 100 later tasks in its list, about 10,000 in all, a task is forgotten,
# and a repeat does its work again. Repeats come at once, or after the back-off, an hour
# by default: raise LISTS where an entity has more tasks in that time.
#
# dev_appserver.py names its tasks task1, task2 ... anew with each start, and they would
# be taken for repeats: start it with --clear_datastore=true.
LISTS = 100
LENGTH = 100


# [START deferred_once]
def once(ndb: Any, model: Any) -> Callable[..., Any]:
    """Have a task that is delivered again change nothing.

    Put it below the line that makes a transaction of the function, so that either both
    are done, the work and the record of the task, or none.

        @ndb.transactional
        @once(ndb, Counter)
        def do_something_later(key, amount): ...

    The function's first argument is the id of the entity of `model` that it changes;
    the record is a child of that one. A task may call it once for each entity. Outside
    of a task it does its work and records nothing. `ndb` is the library of `model`.
    """

    class FinishedTasks(ndb.Model):
        """The last tasks of one list, the oldest first."""

        names = ndb.TextProperty(repeated=True)

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)  # tasks name the function, and not this wrapper
        def wrapper(*args: Any, **options: Any) -> Any:
            # from the request's headers; App Engine lets only the queue send these two
            task = os.environ.get("HTTP_X_APPENGINE_TASKNAME")
            if task is None:
                return function(*args, **options)
            if not ndb.in_transaction():
                raise RuntimeError("@once has to be below @ndb.transactional")
            name = f"{os.environ.get('HTTP_X_APPENGINE_QUEUENAME')}/{task}"
            call = inspect.signature(function).bind(*args, **options)
            call.apply_defaults()
            parent = model(id=next(iter(call.arguments.values()))).key
            number = zlib.crc32(name.encode()) % LISTS
            which = f"{function.__module__}.{function.__qualname__} {number}"
            finished = FinishedTasks.get_by_id(which, parent=parent)
            finished = finished or FinishedTasks(id=which, parent=parent)
            if name in finished.names:
                logger.info("Task %s has done this already", name)
                return None
            result = function(*args, **options)
            finished.names = [*finished.names, name][-LENGTH:]
            finished.put()
            return result

        return wrapper

    return decorate


# [END deferred_once]
