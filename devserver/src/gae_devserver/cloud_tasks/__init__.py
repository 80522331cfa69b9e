"""Carries out the RPCs of Cloud Tasks on the queues. Imports tasks, rpc, http, app."""
