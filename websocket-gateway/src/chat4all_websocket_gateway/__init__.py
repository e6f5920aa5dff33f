"""Live connections to clients: sends in, conversations out, nothing kept that must survive."""
