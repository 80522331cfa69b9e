"""The Deferred API in a Django app, its settings included."""

import logging
import os

from django.conf import settings
from django.core.management.utils import get_random_secret_key
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST, require_safe
from google.appengine.api import wrap_wsgi_app
from google.appengine.ext import deferred

from shared.counter import Counter, do_something_later, my_key
from shared.deferred_handler import CustomDeferredHandler
from shared.guard import guard

# Python shows warnings only, unless told otherwise; what tasks do is logged as info.
logging.basicConfig(level=logging.INFO)

on_dev_server = os.environ.get("GAE_ENV") == "localdev"
local_hosts = ["localhost", "127.0.0.1", "[::1]"] if on_dev_server else []
# For domains of your own: DJANGO_ALLOWED_HOSTS="example.com,www.example.com".
own_hosts = os.environ.get("DJANGO_ALLOWED_HOSTS", "").replace(" ", "").split(",")
settings.configure(
    DEBUG=on_dev_server,
    # This sample signs nothing. Once yours does (sessions, messages, password resets),
    # set the variable: one secret for all instances, kept out of the repository.
    SECRET_KEY=os.environ.get("DJANGO_SECRET_KEY") or get_random_secret_key(),
    ALLOWED_HOSTS=[".appspot.com", *own_hosts, *local_hosts],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
    ],
    ROOT_URLCONF=__name__,
    APPEND_SLASH=False,  # the paths are exact
    LOGGING_CONFIG=None,  # basicConfig above shows what Django logs too
)


# [START deferred_view_counter]
@require_safe
def view_counter(request: HttpRequest) -> HttpResponse:
    """Show the count."""
    # get_by_id, not the page's get_or_insert: reading does not write.
    entity = Counter.get_by_id(my_key)
    count = entity.count if entity else 0
    return HttpResponse(str(count), content_type="text/plain")


# [END deferred_view_counter]
# [START deferred_increment_counter]
@require_GET  # and not require_safe: HEAD must not defer tasks
def increment_counter(request: HttpRequest) -> HttpResponse:
    """Add to the counter three times: now, in a minute and in two."""
    # The default URL, as soon as possible.
    deferred.defer(do_something_later, my_key, 10)
    # The default URL, after 60 seconds.
    deferred.defer(do_something_later, my_key, 10, _countdown=60)
    # A URL of this app, after 120 seconds.
    deferred.defer(do_something_later, my_key, 10, _url="/custom/path", _countdown=120)
    return HttpResponse("Deferred counter increment.", content_type="text/plain")


# [END deferred_increment_counter]
# [START deferred_custom_deferred]
@csrf_exempt  # the task queue has no CSRF token; the handler checks who sent the task
@require_POST
def custom_deferred(request: HttpRequest) -> HttpResponse:
    """Run a task that was deferred to this URL."""
    text, status, headers = CustomDeferredHandler().post(request.environ)
    return HttpResponse(text, status=status, headers=dict(headers))


# [END deferred_custom_deferred]

urlpatterns = [
    path("counter/get", view_counter),
    path("counter/increment", increment_counter),
    path("custom/path", custom_deferred),
]

# [START deferred_wrap_wsgi_app]
# use_deferred=True adds the default URL; the guard must be outside.
app = guard(wrap_wsgi_app(get_wsgi_application(), use_deferred=True))
# [END deferred_wrap_wsgi_app]
