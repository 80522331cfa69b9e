"""Under Django, whose error page logs what its template lacks."""

import logging

import work
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path
from google.appengine.api import wrap_wsgi_app

logging.getLogger().setLevel(logging.DEBUG)


def answer(request, name):
    """Do what the path names."""
    work.WORK[name]()
    return HttpResponse("ok")


urlpatterns = (path("<str:name>", answer),)
settings.configure(
    SECRET_KEY="x",
    DEBUG=True,
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    LOGGING_CONFIG=None,
)
app = wrap_wsgi_app(get_wsgi_application())
