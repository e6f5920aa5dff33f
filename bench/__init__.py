"""What Chat4All carries on one machine, measured through the doors a client would use. See README.md."""
