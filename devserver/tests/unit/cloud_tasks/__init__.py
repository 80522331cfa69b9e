"""Tests of gae_devserver.cloud_tasks."""
