"""Rules about files, without I/O."""
