"""`python -m koopctrl.cli` is `koopctrl`."""

from koopctrl.cli.app import main

main()
