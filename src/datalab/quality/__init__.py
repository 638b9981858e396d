"""Expectations and quarantine."""
