"""The Deferred API in a Flask app."""

import logging

from flask import Flask, abort, request
from google.appengine.api import wrap_wsgi_app
from google.appengine.ext import deferred

from shared.counter import Counter, do_something_later, my_key
from shared.deferred_handler import Answer, CustomDeferredHandler
from shared.guard import guard

# The handler logs at INFO. Without this line, Python shows warnings only.
logging.basicConfig(level=logging.INFO)

app = Flask(__name__)
# use_deferred=True serves /_ah/queue/deferred. The guard refuses forged tasks, so it
# must be the outermost.
app.wsgi_app = guard(wrap_wsgi_app(app.wsgi_app, use_deferred=True))


# [START deferred_views]
@app.route("/counter/increment")
def increment_counter() -> str:
    """Add to the counter three times: now, in one minute and in two minutes."""
    if request.method == "HEAD":  # Flask sends HEAD to a GET view; it must not defer
        abort(405, ["GET", "OPTIONS"])  # raises MethodNotAllowed

    # Run the function as soon as possible, through the SDK's URL and the default queue.
    deferred.defer(do_something_later, my_key, 10)

    # The same, in one minute.
    deferred.defer(do_something_later, my_key, 10, _countdown=60)

    # In two minutes, through a URL of this app.
    deferred.defer(do_something_later, my_key, 10, _url="/custom/path", _countdown=120)

    return "Deferred counter increment."


@app.route("/counter/get")
def view_counter() -> str:
    """Show the count."""
    counter = Counter.get_by_id(my_key)  # unlike get_or_insert, it stores nothing
    return str(counter.count if counter else 0)


@app.route("/custom/path", methods=["POST"])
def custom_deferred() -> Answer:
    """Run a task that was deferred to this URL."""
    return CustomDeferredHandler().post(request.environ)


# [END deferred_views]
