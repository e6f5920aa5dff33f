"""What this service does, one module for sending and one for reading."""
