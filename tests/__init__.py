"""Tests: the contract, the units, the apps alone, and the commands."""
