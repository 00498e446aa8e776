"""The demo that `koopctrl demo` runs."""
