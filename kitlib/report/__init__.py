"""The report of a run: one self-contained HTML page (`write_report`), and the same figures for notebooks (`figures`).

Every number on the page is computed from the `ReportData` that `run.diagnosis` builds out of the run's own products.
Read in this order: data (what a run holds), bands, diagnostics and calibrationtable (numbers), groups, gatetable (what
the gate found, and each fit), heavy (what takes its time), injection and injectiontable, figures (theirs and their
colours), payload and page (its charts and colours: page.css, charts.js).
"""

from .calibrationtable import calibration, calibration_text
from .data import ReportData
from .page import write_report

__all__ = ["ReportData", "calibration", "calibration_text", "write_report"]
