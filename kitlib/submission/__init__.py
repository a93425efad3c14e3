"""The file that is handed in.

In: `Prediction`, mu and sigma of 283 bins for each planet. Out: submission.csv, checked, and the bundle around it.
Read in this order: writer (ids in order, csv, bundle, score of files), validation (what a valid file is).
"""

from .validation import MAX_DEPTH, SubmissionError, possible, read_submission, validate_submission
from .writer import ID_FILES, package, read_expected_ids, read_planet_ids, score_files, write_submission

__all__ = [
    "ID_FILES",
    "MAX_DEPTH",
    "SubmissionError",
    "package",
    "possible",
    "read_expected_ids",
    "read_planet_ids",
    "read_submission",
    "score_files",
    "validate_submission",
    "write_submission",
]
