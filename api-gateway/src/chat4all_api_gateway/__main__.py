"""`python -m chat4all_api_gateway`."""

from chat4all_api_gateway.app import main

main()
