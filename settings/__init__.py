"""Settings of a run: every flag of the command line."""
