"""Tests of gae_devserver.app."""
