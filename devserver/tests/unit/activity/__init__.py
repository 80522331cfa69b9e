"""Tests of gae_devserver.activity."""
