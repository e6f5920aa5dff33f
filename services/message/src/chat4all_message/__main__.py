"""`python -m chat4all_message` serves messages."""

from chat4all_message.server import main

main()
