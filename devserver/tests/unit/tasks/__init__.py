"""Tests of gae_devserver.tasks."""
