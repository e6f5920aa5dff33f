"""Starts the auth service: `python -m chat4all_auth`."""

from chat4all_auth.server import main

if __name__ == "__main__":
    main()
