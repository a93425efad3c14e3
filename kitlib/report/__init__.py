"""The report of a run: one self-contained HTML page (`write_report`), and the same figures for notebooks (`figures`).

Every number on the page is computed from the `ReportData` that the pipeline builds out of the run's own products.
"""

from .calibrationtable import calibration, calibration_text
from .data import ReportData
from .page import write_report

__all__ = ["ReportData", "calibration", "calibration_text", "write_report"]
