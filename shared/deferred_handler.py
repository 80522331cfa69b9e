"""A handler for deferred tasks that logs each one before and after it runs."""

import logging
from http import HTTPStatus
from wsgiref.types import WSGIEnvironment

from google.appengine.ext import deferred

logger = logging.getLogger(__name__)

# The text, the status and the headers of an answer.
Answer = tuple[str, HTTPStatus, list[tuple[str, str]]]

# For each task the SDK logs all X-AppEngine-* headers, even the API ticket, at INFO.
# This moves that line to DEBUG, so logging.basicConfig(level=logging.INFO) hides it.
deferred.set_log_level(logging.DEBUG)


# [START deferred_custom_handler]
class CustomDeferredHandler(deferred.Handler):
    """Log what the default handler does. You can override either method alone."""

    def run_from_request(self, environ: WSGIEnvironment) -> Answer:
        """Log the task, then check who sent it and run it.

        Override this method to wrap the task itself, for example with a timer. The
        task's exceptions pass through here; PermanentTaskFailure drops the task.
        """
        logger.info("%s: received", _task(environ))
        return super().run_from_request(environ)

    def post(self, environ: WSGIEnvironment) -> Answer:
        """Run the task, then log how it went.

        Override this method to see or change the answer. With 200 the task is done, or
        dropped by PermanentTaskFailure. With 408, SingularTaskFailure, the queue
        retries it. With 403 the request was not a task. Any other exception passes
        through, becomes a 500, and the queue retries the task.
        """
        try:
            text, status, headers = super().post(environ)
        except Exception as error:
            logger.error("%s: failed: %r", _task(environ), error)
            raise
        logger.info("%s: %d %s", _task(environ), status, text)
        return text, status, headers


# [END deferred_custom_handler]


def _task(environ: WSGIEnvironment) -> str:
    name = environ.get("HTTP_X_APPENGINE_TASKNAME", "unknown")
    queue = environ.get("HTTP_X_APPENGINE_QUEUENAME", "unknown")
    retries = environ.get("HTTP_X_APPENGINE_TASKRETRYCOUNT", "unknown")
    return f"Task {name}, queue {queue}, retry count {retries}"
