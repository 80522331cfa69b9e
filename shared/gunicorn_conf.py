"""Settings for gunicorn. The entrypoint in app.yaml names this file with --config."""

import os

# On your machine, listen on loopback only: anyone who reaches this port can send the
# headers that App Engine sets, and then a pickle that runs their code.
host = "127.0.0.1" if os.environ.get("GAE_ENV") == "localdev" else "0.0.0.0"
bind = f"{host}:{os.environ.get('PORT', '8080')}"

# Two processes with many threads: a request mostly waits for API calls, and a task that
# fetches a page of its own app needs a second thread. With threads, gunicorn's timeout
# does not stop a long request, and a task may take ten minutes.
workers = 2
threads = 32

# Import the app once, before the workers fork. This starts faster and saves memory.
# Set it to False if your app opens a connection or starts a thread on import, as a
# client of Firestore or Cloud Logging does: neither survives the fork.
preload_app = True

# Otherwise gunicorn takes SCRIPT_NAME and PATH_INFO from a visitor's headers.
forwarder_headers = ""

# No control socket: nothing here uses it.
control_socket_disable = True
