"""Deeds: the specification's own workflows."""
