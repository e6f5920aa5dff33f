"""The command line for people, and the client library it stands on: REST through the edge and the live WebSocket."""
