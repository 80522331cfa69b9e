"""Tests of gae_devserver.console."""
