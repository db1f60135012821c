"""Collecting what nothing refers to any more."""
