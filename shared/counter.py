"""The counter, and the function that the tasks run."""

import os

from google.appengine.ext import ndb

from shared.cloud_ndb import ndb  # noqa: F811 - the one that COUNTER_NDB names
from shared.once import once

# [START deferred_counter]
# In production each version counts for itself, as on Google's page. A dev server may
# give every instance, and every reload, a version of its own: a task would then add
# to a counter that the page never shows. There, all of them share one key.
if os.environ.get("GAE_ENV") == "localdev":
    my_key = "localdev"
else:
    my_key = os.environ.get("GAE_VERSION", "Missing")


class Counter(ndb.Model):
    """Hold one count."""

    count = ndb.IntegerProperty()


# Unlike the page: one transaction. Without it, two tasks that run at once read the
# same count, and one of the two additions is lost.
@ndb.transactional
@once(ndb, Counter)  # a task may be delivered twice, and is to count once
def do_something_later(key: str, amount: int) -> None:
    """Add an amount to the counter that has this key."""
    entity = Counter.get_or_insert(key, count=0)
    entity.count += amount
    entity.put()


# [END deferred_counter]
