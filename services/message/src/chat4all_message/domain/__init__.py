"""What a message is and when it may be sent: plain Python without I/O."""
