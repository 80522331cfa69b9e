"""The service admin: Django."""

import jobs
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import re_path
from google.appengine.api import wrap_wsgi_app


def serve(request: HttpRequest) -> HttpResponse:
    """Answer each request."""
    return HttpResponse(jobs.answer("Django", request.META))


urlpatterns = [re_path("", serve)]
settings.configure(SECRET_KEY="x", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__)
app = wrap_wsgi_app(get_wsgi_application(), use_deferred=True)
