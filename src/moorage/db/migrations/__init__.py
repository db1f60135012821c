"""The schema's history: one script in `versions/` for each step, run by `moorage.db.migrate`."""
