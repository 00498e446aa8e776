"""The package's messages in the command line's words: arguments become options."""

from __future__ import annotations

import re

_OPTIONS = {
    "output_lags": "--output-lags", "input_lags": "--input-lags", "n_features": "--features",
    "input_coupling": "--coupling", "feature_scale": "--feature-scale", "test_fraction": "--test-fraction",
    "random_state": "--seed", "n_init": "--n-init", "n_states": "--states", "feedthrough": "--feedthrough",
    "ridge": "--ridge", "sampler": "--sampler", "u_min": "--u-min", "u_max": "--u-max",
    "horizon": "--horizon", "n_steps": "--steps", "rank_tol": "--rank-tol",
    "header_line": "--header-line", "data_line": "--data-line",
    "controllers has": "--controllers has", "plants has": "--plants has", "tasks has": "--tasks has",
}  # fmt: skip
# Words of everyday English, which are options only where a value follows.
_WITH_VALUE = {
    "dt": "--dt", "time": "--time", "episode": "--episode", "gaps": "--gaps", "delimiter": "--delimiter",
    "decimal": "--decimal", "resample": "--resample", "outputs": "--outputs", "inputs": "--inputs",
}  # fmt: skip
_VALUE = r"=(\"[^\"]*\"|'[^']*'|\.\.\.|[^\s,;:.)]+)"
_GIVEN = re.compile(rf"\b({'|'.join([*_OPTIONS, *_WITH_VALUE])}){_VALUE}")
_REFUSED = re.compile(rf"^({'|'.join(_WITH_VALUE)}) is (?=['\"\d-]|empty)")
_NAMED = re.compile(rf"(?<![-\w'\"])({'|'.join(_OPTIONS)})\b(?![\w'\"(])")
# What only Python can do, and what goes without saying on the command line.
_PYTHON = [
    (re.compile(r' Pass by="time" to say so in advance'), ""),
    (re.compile(r'\. Use by="time" to cut within episodes'), ". Take another --test-fraction"),
    (re.compile(r"\bdt is None\b"), "--dt is not given"),
    (re.compile(r"\btime is None\b"), "--time is not given"),
]


def in_own_words(message: str) -> str:
    """Rewrite a message of the package for who typed a command."""
    for pattern, text in _PYTHON:
        message = pattern.sub(text, message)

    message = _REFUSED.sub(lambda match: f"{_WITH_VALUE[match[1]]} is ", message)

    def option(match: re.Match[str]) -> str:
        value = match[2].strip("\"'")
        name = (_OPTIONS | _WITH_VALUE)[match[1]]
        if value == "True":
            return name
        return f"{name} {'SECONDS' if value == '...' and match[1] == 'dt' else _quoted(value)}"

    message = _GIVEN.sub(option, message)
    return _NAMED.sub(lambda match: _OPTIONS[match[1]], message)


def _quoted(value: str) -> str:
    """As a shell takes it."""
    named = {"\t": r"$'\t'", r"\t": r"$'\t'"}.get(value, value)
    return f"'{named}'" if named in (";", "|", " ") else named
