"""The Deferred API in a Flask app."""

import logging

from flask import Flask, abort, request
from flask.typing import ResponseReturnValue
from google.appengine.api import wrap_wsgi_app
from google.appengine.ext import deferred

from shared.counter import Counter, do_something_later, my_key
from shared.deferred_handler import CustomDeferredHandler
from shared.guard import guard

# Python shows warnings only, unless told otherwise; what tasks do is logged as info.
logging.basicConfig(level=logging.INFO)

app = Flask(__name__, static_folder=None)  # no paths but those below


@app.before_request
def refuse_double_slashes() -> None:
    """Answer 404 where Flask would take //counter/get for /counter/get."""
    if "//" in request.environ["PATH_INFO"]:
        abort(404)


# [START deferred_view_counter]
@app.get("/counter/get")
def view_counter() -> ResponseReturnValue:
    """Show the count."""
    # get_by_id, not the page's get_or_insert: reading does not write.
    entity = Counter.get_by_id(my_key)
    count = entity.count if entity else 0
    return str(count), {"Content-Type": "text/plain"}


# [END deferred_view_counter]
# [START deferred_increment_counter]
@app.get("/counter/increment")
def increment_counter() -> ResponseReturnValue:
    """Add to the counter three times: now, in a minute and in two."""
    # The default URL, as soon as possible.
    deferred.defer(do_something_later, my_key, 10)
    # The default URL, after 60 seconds.
    deferred.defer(do_something_later, my_key, 10, _countdown=60)
    # A URL of this app, after 120 seconds.
    deferred.defer(do_something_later, my_key, 10, _url="/custom/path", _countdown=120)
    return "Deferred counter increment.", {"Content-Type": "text/plain"}


# [END deferred_increment_counter]
# [START deferred_custom_deferred]
@app.post("/custom/path")
def custom_deferred() -> ResponseReturnValue:
    """Run a task that was deferred to this URL."""
    text, status, headers = CustomDeferredHandler().post(request.environ)
    return text, status, headers


# [END deferred_custom_deferred]

# Flask would run a GET view for HEAD too, and HEAD must not defer tasks.
for rule in app.url_map.iter_rules("increment_counter"):
    rule.methods = {"GET", "OPTIONS"}

# [START deferred_wrap_wsgi_app]
# use_deferred=True adds the default URL; the guard must be outside.
app.wsgi_app = guard(wrap_wsgi_app(app.wsgi_app, use_deferred=True))
# [END deferred_wrap_wsgi_app]
