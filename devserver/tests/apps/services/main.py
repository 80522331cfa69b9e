"""The service default: Flask."""

import jobs
from flask import Flask, request
from google.appengine.api import wrap_wsgi_app

app = Flask(__name__)
app.wsgi_app = wrap_wsgi_app(app.wsgi_app, use_deferred=True)


@app.route("/", methods=["GET", "POST"])
@app.route("/<path:path>", methods=["GET", "POST"])
def serve(path: str = "") -> str:
    """Answer each request."""
    return jobs.answer("Flask", request.environ)
