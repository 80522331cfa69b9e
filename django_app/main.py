"""The Deferred API in a Django app, with its settings."""

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

# The handler logs at INFO. Without this line, Python shows warnings only.
logging.basicConfig(level=logging.INFO)


# [START deferred_views]
@require_GET  # unlike require_safe, it refuses HEAD, which must not defer
def increment_counter(request: HttpRequest) -> HttpResponse:
    """Add to the counter three times: now, in one minute and in two minutes."""
    # Run the function as soon as possible, through the SDK's URL and the default queue.
    deferred.defer(do_something_later, my_key, 10)

    # The same, in one minute.
    deferred.defer(do_something_later, my_key, 10, _countdown=60)

    # In two minutes, through a URL of this app.
    deferred.defer(do_something_later, my_key, 10, _url="/custom/path", _countdown=120)

    return HttpResponse("Deferred counter increment.")


@require_safe
def view_counter(request: HttpRequest) -> HttpResponse:
    """Show the count."""
    counter = Counter.get_by_id(my_key)  # unlike get_or_insert, it stores nothing
    return HttpResponse(str(counter.count if counter else 0))


@csrf_exempt  # a task has no CSRF token; the handler checks who sent it
@require_POST
def custom_deferred(request: HttpRequest) -> HttpResponse:
    """Run a task that was deferred to this URL."""
    response, status, headers = CustomDeferredHandler().post(request.environ)
    return HttpResponse(response, status=status.value, headers=dict(headers))


# [END deferred_views]

urlpatterns = (
    path("counter/get", view_counter, name="view_counter"),
    path("counter/increment", increment_counter, name="increment_counter"),
    path("custom/path", custom_deferred, name="custom_deferred"),
)

settings.configure(
    DEBUG=os.environ.get("GAE_ENV") == "localdev",  # the dev server
    # This sample signs nothing, so a new key at each start is enough. For sessions or
    # password resets, set the variable to one secret that all instances share.
    SECRET_KEY=os.environ.get("DJANGO_SECRET_KEY") or get_random_secret_key(),
    ROOT_URLCONF=__name__,
    MIDDLEWARE=(
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ),
    ALLOWED_HOSTS=["*"],  # App Engine passes on only requests for the app's own hosts
    LOGGING_CONFIG=None,  # basicConfig above shows Django's lines too
)

# use_deferred=True serves /_ah/queue/deferred. The guard refuses forged tasks, so it
# must be the outermost.
app = guard(wrap_wsgi_app(get_wsgi_application(), use_deferred=True))
