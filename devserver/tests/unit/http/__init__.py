"""Tests of gae_devserver.http."""
