"""How many cases the long random sweeps try: a fifth, or all of them under `HYPOTHESIS_PROFILE=search`."""

import os

_PART = 5


def many(whole: int) -> int:
    """Cases out of a sweep of `whole`."""
    return whole if os.environ.get("HYPOTHESIS_PROFILE") == "search" else -(-whole // _PART)
