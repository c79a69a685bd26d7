"""Pictures and the page."""

from leaven.report.page import write_report

__all__ = ["write_report"]
