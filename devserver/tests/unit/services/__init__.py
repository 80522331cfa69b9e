"""Tests of gae_devserver.services."""
