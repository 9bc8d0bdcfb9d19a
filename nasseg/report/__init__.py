"""The report of a run: one self-contained HTML file and its pictures."""

from nasseg.report._write import write_report

__all__ = ["write_report"]
