"""Who is there: keeps devices alive by heartbeat, answers who is online, tells changes."""
