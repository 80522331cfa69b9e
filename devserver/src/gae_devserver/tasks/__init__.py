"""Queues, schedule, execution. Imports http, app, config, storage."""
