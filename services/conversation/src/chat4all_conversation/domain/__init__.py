"""What a conversation is and who may do what in it. Plain Python: no input or output, no protobuf."""
