"""What the router decides, as plain Python."""
