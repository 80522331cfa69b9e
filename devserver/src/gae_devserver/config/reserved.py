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


def is_reserved(name: str) -> bool:
    """Return whether neither the shell nor app.yaml can set this variable."""
    return name in _NAMES
