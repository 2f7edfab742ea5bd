"""Print a table for people."""

from rich.console import Console
from rich.table import Table

_WIDE = 200


def table(title: str, *columns: str) -> Table:
    """Make a table of right-aligned columns; what does not fit is folded, never cut off."""
    made = Table(title=title, title_justify="left")
    for name in columns:
        made.add_column(name, justify="right", overflow="fold", no_wrap=name == "period")
    return made


def print_table(made: Table) -> None:
    """Print a table, as wide as it needs where no terminal bounds it."""
    console = Console()
    if not console.is_terminal:
        console.width = _WIDE
    console.print(made)
