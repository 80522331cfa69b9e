"""The counter, and the function that the tasks run."""

import os

from google.appengine.ext import ndb

from shared.once import first_delivery

# In production each version has its own counter, as on Google's page. A dev server may
# change GAE_VERSION with each instance and each reload, so it has one key for all.
my_key = os.environ.get("GAE_VERSION", "Missing")
if os.environ.get("GAE_ENV") == "localdev":
    my_key = "localdev"


# [START deferred_counter]
class Counter(ndb.Model):
    """A count."""

    count = ndb.IntegerProperty(indexed=False)


class FinishedTask(ndb.Model):
    """A task that has been counted. Its parent is the counter."""

    expires = ndb.DateTimeProperty(indexed=False)


# Without a transaction, two tasks that run at once read the same count, and one of the
# two additions is lost.
@ndb.transactional
def do_something_later(key: str, amount: int) -> None:
    """Add an amount to the counter that has this key."""
    entity = Counter.get_or_insert(key, count=0)
    record = first_delivery(FinishedTask, entity.key)
    if record is None:  # a queue may deliver a task twice
        return
    entity.count += amount
    ndb.put_multi([entity, record])


# [END deferred_counter]
