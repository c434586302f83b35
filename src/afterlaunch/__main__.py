"""`python -m afterlaunch`."""

from afterlaunch.cli import main

main()
