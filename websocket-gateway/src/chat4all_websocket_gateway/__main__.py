"""`python -m chat4all_websocket_gateway`."""

from chat4all_websocket_gateway.app import main

main()
