"""Recognize a task that the queue delivers twice, with either NDB library."""

import logging
import os
from datetime import UTC, datetime, timedelta
from typing import Any

logger = logging.getLogger(__name__)

# How long a repeat is recognized. Old records stay in the database until you set a
# TTL policy, once for each database and kind:
#
#   gcloud firestore fields ttls update expires \
#       --collection-group=FinishedTask --enable-ttl
LIFETIME = timedelta(days=7)


def first_delivery(model: Any, parent: Any) -> Any:
    """Return a new record of the current task, or None if the task has run before.

    `model` is the model of your records, with a property `expires`; `parent` is the key
    of the entity that the task changes. In one transaction, call this once, and put the
    entity and the record:

        record = first_delivery(FinishedTask, entity.key)
        if record is None:
            return
        entity.count += amount
        ndb.put_multi([entity, record])

    Only what the transaction writes happens once. A second transaction of the same task
    with the same parent finds the record of the first. Outside a task, every call is a
    first delivery. The names of queue and task must not exceed 499 characters together.
    """
    # From the request's headers. App Engine drops these two if a visitor sends them.
    task = os.environ.get("HTTP_X_APPENGINE_TASKNAME")
    queue = os.environ.get("HTTP_X_APPENGINE_QUEUENAME")
    name = f"{queue}/{task}" if task else None  # None: NDB chooses an id
    now = datetime.now(UTC).replace(tzinfo=None)  # NDB stores UTC without a time zone
    record = model.get_by_id(name, parent=parent) if name else None
    if record and record.expires > now:
        logger.info("Task %s was delivered before", name)
        return None
    return model(id=name, parent=parent, expires=now + LIFETIME)
