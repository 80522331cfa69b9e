"""What each app does, whatever its framework is."""

from google.appengine.api import taskqueue
from google.appengine.ext import deferred, ndb


class Note(ndb.Model):
    """A text that is its own name."""


def store(text):
    """Store an entity."""
    Note(id=text).put()


def answer(path, text=None):
    """Do what a request asks for; return what is stored."""
    if path == "/start":
        store("request")
        deferred.defer(store, "deferred")
        taskqueue.add(url="/task", params={"text": "task"})
    elif path == "/task":
        store(text)
    return " ".join(sorted(note.key.id() for note in Note.query()))
