"""Under Flask, which logs an exception before gunicorn could."""

import flask
import work
from google.appengine.api import wrap_wsgi_app

app = flask.Flask(__name__)
app.wsgi_app = wrap_wsgi_app(app.wsgi_app)


@app.get("/<name>")
def answer(name):
    """Do what the path names."""
    work.WORK[name]()
    return "ok"
