"""Starts the conversation service: `python -m chat4all_conversation`."""

from chat4all_conversation.server import main

if __name__ == "__main__":
    main()
