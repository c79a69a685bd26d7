"""Which columns of a table may hold classes, for a hint to who gives no labels."""

from collections.abc import Collection
from pathlib import Path

from leaven.data.sources.columns import ABOUT, Columns
from leaven.data.sources.folders import walk
from leaven.data.sources.kinds import Kinds
from leaven.data.sources.lines import Lines
from leaven.data.sources.tables import Table

LOOKED_AT = 100_000  # values of a column, at most


def class_columns(path: Path, used: Collection[str] = ()) -> list[str]:
    """The columns whose values are few and come again; none where this is no table. used: columns that hold the samples."""
    root, names = (path.parent, [path.name]) if path.is_file() else (path, walk(path) if path.is_dir() else [])
    files = Kinds.of(names)
    if files.tables:
        table: Columns = Table(root, files.tables)
    elif lines := max(files.lines, key=len, default=()):
        table = Lines.read(root, lines)
    else:
        return []
    used = {*(used or table.usual_roles().values()), *(ABOUT)}
    columns = [column for column in table.column_names() if column not in used and table.holds_classes(column)]
    return [column for column in columns if 1 < len(set(values := table.values(column)[:LOOKED_AT])) <= len(values) / 4]
