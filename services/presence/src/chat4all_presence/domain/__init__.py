"""Presence in plain Python: no I/O, no protobuf."""
