"""The package that provides a module or a program, where that is certain.

The package index has packages of strangers under many names that look right. So these
tables have only well-known ones, and there is no rule that makes up a name.
"""

import re

SDK = "appengine-python-standard"
# google.cloud.NAME is in google-cloud-NAME
_GOOGLE_CLOUD = (
    "aiplatform",
    "bigquery",
    "bigtable",
    "compute",
    "container",
    "datastore",
    "dialogflow",
    "dlp",
    "dns",
    "documentai",
    "firestore",
    "functions",
    "kms",
    "language",
    "logging",
    "monitoring",
    "ndb",
    "pubsub",
    "run",
    "scheduler",
    "spanner",
    "speech",
    "storage",
    "tasks",
    "texttospeech",
    "trace",
    "translate",
    "videointelligence",
    "vision",
)
# packages whose name is the module's name, apart from upper case
_SAME_NAME = (
    "a2wsgi",
    "aiohttp",
    "anyio",
    "asgiref",
    "bottle",
    "cachetools",
    "certifi",
    "celery",
    "click",
    "cryptography",
    "fastapi",
    "flask",
    "gevent",
    "gunicorn",
    "httplib2",
    "httpx",
    "itsdangerous",
    "jinja2",
    "lxml",
    "markupsafe",
    "numpy",
    "oauth2client",
    "pandas",
    "passlib",
    "pydantic",
    "pymysql",
    "pyramid",
    "pytz",
    "quart",
    "redis",
    "requests",
    "sendgrid",
    "simplejson",
    "six",
    "sqlalchemy",
    "starlette",
    "stripe",
    "tornado",
    "twilio",
    "uvicorn",
    "waitress",
    "werkzeug",
    "whitenoise",
)
_MODULES = {
    **{f"google.cloud.{name}": f"google-cloud-{name}" for name in _GOOGLE_CLOUD},
    **{name: name for name in _SAME_NAME},
    "Crypto": "pycryptodome",
    "MySQLdb": "mysqlclient",
    "OpenSSL": "pyOpenSSL",
    "PIL": "Pillow",
    "apiclient": "google-api-python-client",
    "attr": "attrs",
    "bs4": "beautifulsoup4",
    "corsheaders": "django-cors-headers",
    "dateutil": "python-dateutil",
    "django": "Django",
    "dotenv": "python-dotenv",
    "firebase_admin": "firebase-admin",
    "flask_cors": "Flask-Cors",
    "flask_login": "Flask-Login",
    "flask_sqlalchemy": "Flask-SQLAlchemy",
    "flask_wtf": "Flask-WTF",
    "google.api_core": "google-api-core",
    "google.appengine": SDK,
    "google.auth": "google-auth",
    "google.cloud.error_reporting": "google-cloud-error-reporting",
    "google.cloud.recaptchaenterprise": "google-cloud-recaptcha-enterprise",
    "google.cloud.resourcemanager": "google-cloud-resource-manager",
    "google.cloud.secretmanager": "google-cloud-secret-manager",
    "google.cloud.sql": "cloud-sql-python-connector",
    "google.oauth2": "google-auth",
    "google.protobuf": "protobuf",
    "google_auth_oauthlib": "google-auth-oauthlib",
    "googleapiclient": "google-api-python-client",
    "googlecloudprofiler": "google-cloud-profiler",
    "grpc": "grpcio",
    "jwt": "PyJWT",
    "markdown": "Markdown",
    "pkg_resources": "setuptools",
    "psycopg2": "psycopg2-binary",
    "rest_framework": "djangorestframework",
    "sklearn": "scikit-learn",
    "uvicorn_worker": "uvicorn-worker",
    "wtforms": "WTForms",
    "yaml": "PyYAML",
}
_PROGRAMS = {
    "daphne": "daphne",
    "ddtrace-run": "ddtrace",
    "django-admin": "Django",
    "flask": "Flask",
    "gunicorn": "gunicorn",
    "hypercorn": "hypercorn",
    "newrelic-admin": "newrelic",
    "uvicorn": "uvicorn",
    "uwsgi": "uWSGI",
    "waitress-serve": "waitress",
}


def of_module(name: str) -> str | None:
    """Return the package that has this module; None: that is not certain."""
    # client libraries have a module for each version of an API
    parts = [re.sub(r"_v\d\w*$", "", part) for part in name.split(".")]
    for length in range(len(parts), 0, -1):
        if package := _MODULES.get(".".join(parts[:length])):
            return package
    return None


def of_program(name: str) -> str | None:
    """Return the package that has this program; None: that is not certain."""
    return _PROGRAMS.get(name)
