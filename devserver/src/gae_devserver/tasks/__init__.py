"""Queues, the order of their tasks, execution. Imports http, app, config, storage."""
