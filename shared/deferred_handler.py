"""A handler for deferred tasks that logs each one before and after it runs."""

import logging
from http import HTTPStatus
from wsgiref.types import WSGIEnvironment

from google.appengine.ext import deferred

logger = logging.getLogger(__name__)

# What an app sends back: the text, the status, and the headers that say it is plain.
Answer = tuple[str, HTTPStatus, list[tuple[str, str]]]

# The SDK logs all X-AppEngine-* headers of a task, its API ticket too; not needed here.
deferred.set_log_level(logging.DEBUG)


# [START deferred_custom_handler]
class CustomDeferredHandler(deferred.Handler):
    """Log what the default handler does; either method may be overridden alone."""

    def run_from_request(self, environ: WSGIEnvironment) -> Answer:
        """Log the task, then check who sent it and run it.

        Override this one to work around the task itself (a timer, a rollback): what
        the task raises comes through here. Raise PermanentTaskFailure to drop a task.
        """
        logger.info("%s: received", _task(environ))
        answer: Answer = super().run_from_request(environ)
        return answer

    def post(self, environ: WSGIEnvironment) -> Answer:
        """Run the task, then log how it went.

        Override this one to see or change the answer that the queue acts on: here the
        exceptions have become one. 200 is done, or dropped after PermanentTaskFailure;
        408 is SingularTaskFailure, to be retried; 403 was no task. Any other exception
        comes through, is a 500, and is retried.
        """
        try:
            text, status, headers = super().post(environ)
        except Exception as error:
            logger.error("%s: failed: %r", _task(environ), error)
            raise
        logger.info("%s: %d %s", _task(environ), status, text)
        return text, status, headers


def _task(environ: WSGIEnvironment) -> str:
    name, queue, retries = (
        environ.get(f"HTTP_X_APPENGINE_{header}", "unknown")
        for header in ("TASKNAME", "QUEUENAME", "TASKRETRYCOUNT")
    )
    return f"Task {name}, queue {queue}, retry count {retries}"


# [END deferred_custom_handler]
