"""`python -m chat4all_router` routes messages."""

from chat4all_router.worker import main

main()
