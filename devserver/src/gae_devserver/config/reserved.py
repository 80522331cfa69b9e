"""Environment variables that only the server sets for the app."""

# With a DATASTORE_… of these, the bundled NDB does not find its app id.
_NAMES = frozenset(
    (
        "API_HOST",
        "API_PORT",
        "APPLICATION_ID",
        "DATASTORE_APP_ID",
        "DATASTORE_PROJECT_ID",
        "DEVSERVER_SMTP_PASSWORD",
        "DEVSERVER_SMTP_USER",
        "GAE_APPLICATION",
        "GAE_DEPLOYMENT_ID",
        "GAE_DEVSERVER_LOG",
        "GAE_ENV",
        "GAE_INSTANCE",
        "GAE_MEMORY_MB",
        "GAE_RUNTIME",
        "GAE_SERVICE",
        "GAE_VERSION",
        "GOOGLE_CLOUD_PROJECT",
        "PORT",
        "SERVER_SOFTWARE",
    )
)

# With these, the SDK asks another server than this one.
OTHER_SERVERS = {
    "APPENGINE_USE_CUSTOM_IMAGES_GRPC_SERVICE": (
        "this server answers the calls of google.appengine.api.images itself"
    ),
    "APPENGINE_USE_SMTP_MAIL_SERVICE": (
        "this server takes the app's mail, and sends it only with --smtp-host"
    ),
}
"""Variables that the app does not get -> the reason."""


def is_reserved(name: str) -> bool:
    """Return whether neither the shell nor app.yaml can set this variable."""
    return name in _NAMES or name in OTHER_SERVERS
