"""A table of texts, for Markdown, HTML and the terminal."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Self

from rich import box
from rich.table import Table as RichTable
from rich.text import Text

_MARKUP = re.compile(r"[\\`*|~$]|<(?=[A-Za-z/!?])|&(?=#?\w+;)|(?<![^\W_])_|_(?![^\W_])|\](?=[(\[])")
"""What Markdown would take for markup; an underscore within a word is none."""


@dataclass(frozen=True)
class Table:
    """Cells without markup.

    Args:
        header: Name of each column.
        rows: As many cells each.
        caption: What the table shows.
        note: Sentences under the table.
        left: Columns of texts, counted from 0, which are aligned to the left; the others have numbers.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    note: str = ""
    left: Collection[int] = ()

    def compacted(self, columns: Collection[int]) -> Self:
        """Return the table whose caption has those of some columns that are equal in all of several rows."""
        equal = [i for i in columns if len(self.rows) > 1 and len({row[i] for row in self.rows}) == 1]
        kept = [i for i in range(len(self.header)) if i not in equal]
        facts = ", ".join(f"{self.header[i]}: {self.rows[0][i]}" for i in equal)
        header, *rows = ([row[i] for i in kept] for row in (self.header, *self.rows))
        caption = f"{self.caption} In all rows: {facts}." if equal else self.caption
        return type(self)(header, rows, caption, self.note, {kept.index(i) for i in self.left if i in kept})

    def markdown(self) -> str:
        """Return the table in Markdown, with aligned columns."""
        cells = [[plain(cell) for cell in row] for row in (self.header, *self.rows)]
        widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
        rule = ["-" * w if i in self.left else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
        sides = ["<" if i in self.left else ">" for i in range(len(widths))]
        aligned = [[f"{c:{s}{w}}" for c, s, w in zip(row, sides, widths, strict=True)] for row in cells]
        lines = "\n".join("| " + " | ".join(row) + " |" for row in (aligned[0], rule, *aligned[1:]))
        return "\n\n".join(part for part in (plain(self.caption), lines, plain(self.note)) if part) + "\n"

    def rich(self) -> RichTable:
        """Return the table for the terminal."""
        table = RichTable(box=box.SIMPLE_HEAD, title=Text(self.caption), title_justify="left", title_style="")
        table.caption, table.caption_justify, table.caption_style = Text(self.note), "left", ""
        for i, name in enumerate(self.header):
            table.add_column(Text(name), justify="left" if i in self.left else "right", overflow="fold")
        for row in self.rows:
            table.add_row(*map(Text, row))
        return table


def plain(text: str) -> str:
    """Return Markdown that shows a text as it is, in one line."""
    return _MARKUP.sub(r"\\\g<0>", " ".join(text.split()))
