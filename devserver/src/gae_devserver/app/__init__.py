"""The app's process: environment, start, reload, stop, requests. Imports config."""
