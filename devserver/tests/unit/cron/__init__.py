"""Tests of gae_devserver.cron."""
