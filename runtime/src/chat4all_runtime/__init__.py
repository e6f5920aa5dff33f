"""What every Chat4All process needs to start, listen, report and stop. Free of chat words; imports none of our packages."""
