"""Recognise a task that the queue delivers twice, with either NDB library."""

import logging
import os
from datetime import UTC, datetime, timedelta
from typing import Any

logger = logging.getLogger(__name__)

# A record must outlive the retries of its task. Nothing deletes old records until the
# project has a TTL policy, which you set once, with your model's name:
#
#   gcloud firestore fields ttls update expires \
#       --collection-group=FinishedTask --enable-ttl
LIFETIME = timedelta(days=7)


def first_delivery(model: Any, parent: Any) -> Any:
    """Return a record of the current task, or None if the task has run before.

    `model` is your kind of record, with a property `expires`; `parent` is the key of
    the entity that the task changes. Put entity and record in one transaction, so that
    either both are stored or neither:

        record = first_delivery(FinishedTask, entity.key)
        if record is None:
            return
        entity.count += amount
        ndb.put_multi([entity, record])

    A task gets one record for each parent. Outside a task every call is a first one.
    """
    # From the request's headers. App Engine drops both if a visitor sends them.
    task = os.environ.get("HTTP_X_APPENGINE_TASKNAME")
    queue = os.environ.get("HTTP_X_APPENGINE_QUEUENAME")
    name = f"{queue}/{task}" if task else None  # None: NDB chooses an id
    if name and model.get_by_id(name, parent=parent):
        logger.info("Task %s was delivered before", name)
        return None
    expires = datetime.now(UTC).replace(tzinfo=None) + LIFETIME  # NDB: UTC, no zone
    return model(id=name, parent=parent, expires=expires)
