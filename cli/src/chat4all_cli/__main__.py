"""`python -m chat4all_cli` is the command `chat4all`."""

from chat4all_cli.main import main

main()
