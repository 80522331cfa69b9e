"""Tests of gae_devserver.testing."""
