"""Settings for gunicorn, which finds them by --config in app.yaml's entrypoint."""

import os

# On a developer's machine only that machine may connect: whoever reaches this port
# can send the headers that App Engine sets, and have a pickle of theirs loaded.
host = "127.0.0.1" if os.environ.get("GAE_ENV") == "localdev" else "0.0.0.0"
bind = f"{host}:{os.environ.get('PORT', '8080')}"

# Two processes with many threads: most of a request is spent waiting for API calls, and
# a task that fetches a page of its own app needs a second one meanwhile. With threads,
# no request is too long for gunicorn's own time-out (a task may take ten minutes).
workers = 2
threads = 32

# Import the app once, before the workers are forked: a faster start, and memory that
# the workers share. The SDK opens no connection and starts no thread on import. An app
# that does (a client of Firestore or Cloud Logging that is made on import) needs False
# here: neither survives the fork.
preload_app = True

# No proxy says here where the app is mounted; a visitor could, with these headers.
forwarder_headers = ""

# Nobody here talks to gunicorn's control socket, so it is not opened.
control_socket_disable = True
