"""`python -m chat4all_presence`."""

from chat4all_presence.server import main

main()
