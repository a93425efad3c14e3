"""The report of a run: one self-contained HTML page (`write_report`), and the same figures for notebooks (`figures`).

Every number on the page is computed from the `ReportData` that `run.diagnosis` builds out of the run's own products.
Read in this order: data (what a run holds), bands, diagnostics and calibrationtable (numbers), groups, gatetable (what
the gate found, and each fit), heavy (what takes its time), comparison (of two runs), injection and injectiontable. Then
the figures, each defined once: drawing (palette and template), planetcharts, runcharts, stagecharts, figures (for
notebooks), packing (for the page), payload and page.
"""

from .calibrationtable import calibration, calibration_text
from .data import OtherRun, ReportData
from .page import write_report

__all__ = ["OtherRun", "ReportData", "calibration", "calibration_text", "write_report"]
