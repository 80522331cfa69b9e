"""A Flask app that can also start a server by itself."""

import os

import work
from flask import Flask, request
from google.appengine.api import wrap_wsgi_app

app = Flask(__name__)
app.wsgi_app = wrap_wsgi_app(app.wsgi_app, use_deferred=True)


@app.route("/", methods=["GET", "POST"])
@app.route("/<path:path>", methods=["GET", "POST"])
def serve(path=""):
    """Answer each request."""
    return work.answer(request.path, request.form.get("text"))


if __name__ == "__main__":
    app.run(port=int(os.environ["PORT"]))
