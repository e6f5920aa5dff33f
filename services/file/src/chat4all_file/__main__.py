"""`python -m chat4all_file` serves files."""

from chat4all_file.server import main

main()
