"""The one writer of every conversation's log: numbers, stores, shows and announces what was accepted."""
