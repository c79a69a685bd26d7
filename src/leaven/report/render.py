"""Fills a template: one self-contained file, with plotly inside it when there is a figure to draw."""

import base64
import functools
import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leaven.run import when, write_whole


def render(template: str, path: Path, content: Mapping[str, Any]) -> Path:
    """Write the page. Strings are escaped, figures are `Markup`."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("leaven.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["when"] = when
    page = environment.get_template(template).render(content)
    if FIGURE in page:
        page = environment.get_template(template).render({**content, "plotly": packed_plotly()})
    write_whole(path, lambda partial: partial.write_text(page, encoding="utf-8"))
    return path


FIGURE = '<script type="application/json">'


@functools.cache
def packed_plotly() -> str:
    """plotly.js, which is most of a page's weight: gzip in base64 is 2 MB of the 4.8, and every browser since 2023 unpacks it."""
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()
