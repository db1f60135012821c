"""Whether the bytes are what the rows say: checked on demand, and all the time."""
