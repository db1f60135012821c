"""Rooms: what a registry can do besides push and pull."""
