"""One page that a person can open: results, curves, pictures and analyses of work folders."""

from freekd.report.main import main
from freekd.report.material import ReportError

__all__ = ["ReportError", "main"]
