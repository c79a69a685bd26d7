from __future__ import annotations

from typing import Any

from leaven.cli.app import shortened
from leaven.cli.command import command


@command
def search(answers: Any, options: Any) -> tuple[Any, str]:
    lines = []
    for query, neighbours in zip(options.query, answers, strict=True):
        width = max(len(neighbour["file"]) for neighbour in neighbours)
        lines.append(query)
        for neighbour in neighbours:
            place = f"{neighbour['rank']:4}  {neighbour['similarity']:.4f}  {neighbour['file']:{width}}"
            lines.append(f"{place}  {neighbour.get('label') or ''}  {shortened(neighbour.get('text', ''))}".rstrip())
    sheet = None if options.out is None else str(options.out)
    if sheet is not None:
        lines.append(f"The contact sheet: {sheet}")
    queries, found = (options.query[0], answers[0]) if len(answers) == 1 else (options.query, answers)
    return {"query": queries, "neighbours": found, "sheet": sheet}, "\n".join(lines)
