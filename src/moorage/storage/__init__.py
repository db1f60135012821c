"""Bytes: blobs under opaque keys, appended to, then sealed."""
