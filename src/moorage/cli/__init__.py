"""The `moorage` command; everything is imported when it is used."""
