"""What happened, as a time series: volume, response times and exports are read from it, never from the log."""
