"""Accounts and sessions as plain Python: no I/O, no protobuf."""
