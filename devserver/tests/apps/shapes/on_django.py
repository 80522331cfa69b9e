"""A Django project in one file."""

import work
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import re_path
from google.appengine.api import wrap_wsgi_app


def serve(request):
    """Answer each request."""
    return HttpResponse(work.answer(request.path, request.POST.get("text")))


urlpatterns = [re_path("", serve)]
settings.configure(SECRET_KEY="x", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__)
app = wrap_wsgi_app(get_wsgi_application(), use_deferred=True)
