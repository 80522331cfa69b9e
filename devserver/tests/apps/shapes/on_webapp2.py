"""An app with the framework of the Python 2 runtime."""

import webapp2
import work
from google.appengine.api import wrap_wsgi_app


class Handler(webapp2.RequestHandler):
    """Answers each request."""

    def get(self):
        """Answer a request."""
        text = work.answer(self.request.path, self.request.get("text"))
        self.response.write(text)

    post = get


app = wrap_wsgi_app(webapp2.WSGIApplication([("/.*", Handler)]), use_deferred=True)
