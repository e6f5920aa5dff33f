"""The conversation service: conversations, who is in them, and how far each member has read."""
