"""Let a function that is deferred do its work once for each task.

To do without it, delete this file, and the lines in counter.py that name it.
"""

import functools
import logging
import os
import zlib
from collections.abc import Callable
from typing import Any

logger = logging.getLogger(__name__)

# What is kept for each entity: 100 lists of up to 100 tasks, 10,000 in all, some 300 KB
# with the names that App Engine chooses. A task reads and writes one list only, so what
# it costs does not grow. The bound means: a task is known until 100 later ones have
# fallen into its list, which is after about 10,000 others have changed this entity.
# Delivered again after that, it does its work again. A repeat comes at once or after
# the back-off, an hour by default: raise LISTS where an entity has more tasks in that
# time.
#
# dev_appserver.py names its tasks task1, task2 ... anew with each start, and they would
# be taken for repeats: start it with --clear_datastore=true.
LISTS = 100
LENGTH = 100


# [START deferred_once]
def once(ndb: Any, model: Any) -> Callable[..., Any]:
    """Have a task that is delivered again change nothing.

    Put it below the line that makes a transaction of the function: the task is recorded
    in that transaction, so that either both are done, the work and the record, or none.

        @ndb.transactional
        @once(ndb, Counter)
        def do_something_later(key, amount): ...

    The function's first argument is the id of the entity of `model` that it changes;
    the record is a child of that one. A task may call it once for each entity. Called
    outside of a task, it does its work and records nothing. `ndb` is the library that
    `model` is made with, bundled NDB or Cloud NDB.
    """

    class FinishedTasks(ndb.Model):
        """The last tasks of one list, the oldest first."""

        names = ndb.TextProperty(repeated=True)

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)  # tasks name the function, and not this wrapper
        def wrapper(key: Any, *args: Any, **options: Any) -> Any:
            # The SDK copies the headers of each request to os.environ, and App Engine
            # lets nobody but the queue send these two.
            task = os.environ.get("HTTP_X_APPENGINE_TASKNAME")
            if task is None:
                return function(key, *args, **options)
            if not ndb.in_transaction():
                raise RuntimeError("@once has to be below @ndb.transactional")
            name = f"{os.environ.get('HTTP_X_APPENGINE_QUEUENAME')}/{task}"
            parent = model(id=key).key
            which = f"{function.__name__} {zlib.crc32(name.encode()) % LISTS}"
            finished = FinishedTasks.get_by_id(which, parent=parent)
            finished = finished or FinishedTasks(id=which, parent=parent)
            if name in finished.names:
                logger.info("Task %s has done this already", name)
                return None
            result = function(key, *args, **options)
            finished.names = [*finished.names, name][-LENGTH:]
            finished.put()
            return result

        return wrapper

    return decorate


# [END deferred_once]
