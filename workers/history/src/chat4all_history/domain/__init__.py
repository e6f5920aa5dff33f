"""What history remembers of an entry, as plain Python."""
