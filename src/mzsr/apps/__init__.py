"""People and machines: the command line, the report, and what else is put in front of the rooms above."""
