"""Without a framework, and with tasks."""

import logging

import work
from google.appengine.api import taskqueue, wrap_wsgi_app
from google.appengine.ext import deferred

handler = logging.FileHandler("app.log")
handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
logging.getLogger().addHandler(handler)


def answer(environ, start_response):
    """Do what the path names, or let a task do it."""
    name = environ["PATH_INFO"].rpartition("/")[2]
    if environ["PATH_INFO"].startswith("/defer/"):
        once = taskqueue.TaskRetryOptions(task_retry_limit=1, min_backoff_seconds=0.1)
        deferred.defer(work.WORK[name], _name=f"{name}-1", _retry_options=once)
    elif name in work.WORK:
        work.WORK[name]()
    start_response("200 OK", [])
    return [b"ok"]


app = wrap_wsgi_app(answer, use_deferred=True)
