"""Rows: what exists and who points at what, on SQLite or PostgreSQL."""
