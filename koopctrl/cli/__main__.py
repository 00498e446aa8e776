"""`python -m koopctrl.cli` is `koopctrl`."""

from koopctrl.cli.app import main

if __name__ == "__main__":
    main()
