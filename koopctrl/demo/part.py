"""What one part of the demo has to show."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Part:
    """One part of the demo.

    Attributes
    ----------
    title : str
        What was done.
    rows : list of dict
        Table, the same keys in each row.
    finding : str
        One plain sentence on what the table says.
    files : dict of str to str
        Names of the files that were written, and what each shows.
    figures : dict
        Further numbers, for `figures.json`.
    """

    title: str
    rows: list[dict[str, Any]]
    finding: str
    files: dict[str, str]
    figures: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Numbers of this part."""
        return {"title": self.title, "rows": self.rows, **self.figures}
