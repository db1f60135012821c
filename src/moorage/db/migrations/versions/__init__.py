"""Revisions, in order: `0001_words.py`, `0002_…`.

Besides Alembic's own names a revision may set `changes_counts = ("table", …)`: the tables whose number of rows
it changes on purpose.  On SQLite any other change of a count undoes the migration.
"""
