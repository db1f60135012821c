"""Clock: background work as due rows."""
