"""Tests of the dev server: unit, integration, security, fuzz, chaos."""
