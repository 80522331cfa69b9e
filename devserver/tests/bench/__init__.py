"""Measurements of the dev server alone."""
