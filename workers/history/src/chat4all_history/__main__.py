"""`python -m chat4all_history` records history."""

from chat4all_history.worker import main

main()
