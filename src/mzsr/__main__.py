"""`python -m mzsr` is the same as `mzsr`."""

from mzsr.apps.cli import main

main()
