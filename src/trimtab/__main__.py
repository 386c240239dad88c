"""`python -m trimtab` is the command."""

from trimtab.cli.main import main

main()
