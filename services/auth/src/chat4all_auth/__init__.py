"""The auth service: accounts, sessions, access and refresh tokens. The only owner of passwords and of signing keys."""
