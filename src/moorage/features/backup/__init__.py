"""Backups of a registry that goes on serving, and restoring from them."""
