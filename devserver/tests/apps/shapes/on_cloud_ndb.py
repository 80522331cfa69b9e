"""A Flask app that stores its entities with Cloud NDB."""

import work
from google.cloud import ndb
from on_flask import app

client = ndb.Client()


class Note(ndb.Model):
    """A text that is its own name."""


def in_context(wsgi_app):
    """Give each request a context."""

    def serve(environ, start_response):
        with client.context():
            return wsgi_app(environ, start_response)

    return serve


work.Note = Note
app.wsgi_app = in_context(app.wsgi_app)
