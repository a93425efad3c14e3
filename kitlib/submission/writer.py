"""The submission: written atomically, re-read, validated, packaged, scored. What is valid: `validation.py`.

Numbers are written with nine significant digits (`%.9g`). A float32 comes back exactly, a float64 within 5e-9 of
itself, which is 5e-11 at a depth below 0.1. 1,100 planets take 9 MB.
"""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..base.instruments import N_BINS, submission_columns
from ..base.products import Prediction
from ..base.provenance import sha256_file, write_atomic
from ..base.version import __version__
from ..detector import PLANET_ID, FrameError, read_csv, read_spectra_csv
from ..sigma import Score, gll_score, naive_statistics
from .validation import SubmissionError, read_submission, validate_bytes, validate_submission

ID_FILES = ("test_star_info.csv", "sample_submission.csv")  # the first that is there counts
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can hold: the same content gives the same bytes


def read_expected_ids(root: Path) -> NDArray[np.int64]:
    """Planet ids that a submission must hold, in order: of `test_star_info.csv`, else of `sample_submission.csv`.

    Ids may be written as floats (`1103775.0`); they are read as text, so that no digit is lost above 2^53.

    Raises:
        SubmissionError: neither file, no planet, an id that is not an integer, or one that occurs twice.
    """
    path = next((Path(root) / name for name in ID_FILES if (Path(root) / name).is_file()), None)
    if path is None:
        raise SubmissionError(
            f"{root} has neither {ID_FILES[0]} nor {ID_FILES[1]}: give the dataset's root (data.root)"
        )
    return read_planet_ids(path)


def read_planet_ids(path: Path) -> NDArray[np.int64]:
    """The column planet_id of a CSV table, (P,), as `read_expected_ids` reads it, with its errors."""
    try:
        table = read_csv(path)
    except FrameError as error:
        raise SubmissionError(f"{error} It has no column planet_id that could be read: download it again") from error
    if "planet_id" not in table.names:
        raise SubmissionError(f"{path} has no column planet_id: download it again")
    ids: list[int] = []
    for line, text in zip(table.lines, table.column("planet_id"), strict=True):
        match = PLANET_ID.fullmatch(text)
        if match is None:
            raise SubmissionError(f"{path}, line {line}, column planet_id: {text!r} is no planet id: download it again")
        ids.append(int(match[1]))
    if not ids:
        raise SubmissionError(f"{path} holds no planet: the test set is empty; give another dataset root (data.root)")
    unique, counts = np.unique(ids, return_counts=True)
    if len(unique) < len(ids):
        raise SubmissionError(f"{path}: planet {unique[counts > 1][0]} occurs twice: download it again")
    return np.array(ids, np.int64)


def write_submission(path: Path, prediction: Prediction, planet_ids: NDArray[np.int64]) -> Path:
    """Write `submission.csv` with the rows of `prediction` in the order of `planet_ids`, or nothing.

    The content is validated before it takes the place of an older file, and compared with what is on disk after.

    Raises:
        SubmissionError: another set of planets, wrong shapes, or values that no submission may hold.
        OSError: the folder cannot be written.
    """
    path = Path(path)
    data = _encode(path, prediction, planet_ids)
    validate_bytes(path, data, planet_ids).raise_for_errors()
    write_atomic(path, data)
    if path.read_bytes() != data:
        raise SubmissionError(f"{path} does not hold what was written: look at the disk, then write it again")
    return path


def _encode(path: Path, prediction: Prediction, planet_ids: NDArray[np.int64]) -> bytes:
    ids = np.asarray(prediction.planet_id)
    shape = (len(ids), N_BINS)
    if prediction.mu.shape != shape or prediction.sigma.shape != shape:
        raise SubmissionError(f"{path}: mu {prediction.mu.shape} and sigma {prediction.sigma.shape} must be {shape}")
    row_of = {int(planet): row for row, planet in enumerate(ids)}
    wanted = [int(planet) for planet in planet_ids]
    absent = [planet for planet in wanted if planet not in row_of]
    extra = sorted(set(row_of) - set(wanted))
    if absent or extra or len(row_of) != len(ids):
        what = "lacks" if absent else "has planets that are not in the test set," if extra else "holds planets twice,"
        named = absent or extra or [planet for row, planet in enumerate(ids.tolist()) if row_of[planet] != row]
        raise SubmissionError(f"{path}: the prediction {what} planet {named[0]} ({len(named)} in all); predict again")
    row_format = "%d," + ",".join(["%.9g"] * (2 * N_BINS))
    table = np.hstack([prediction.mu, prediction.sigma]).astype(np.float64)
    lines = [row_format % (planet, *table[row_of[planet]].tolist()) for planet in wanted]
    return ("\n".join([",".join(submission_columns()), *lines]) + "\n").encode("ascii")


def package(out: Path, config_snapshot: Path, expected_planet_ids: NDArray[np.int64]) -> Path:
    """Make `out/bundle/`: submission.csv, submission.zip, config.yaml and manifest.json with their sha256.

    The same submission and configuration give the same bytes.

    Args:
        out: run folder with `submission.csv`.
        config_snapshot: the composed configuration that the prediction was made with.
        expected_planet_ids: (P,) the test set, in order.

    Raises:
        SubmissionError: the submission is not valid. FileNotFoundError: no configuration snapshot. OSError: unwritable.
    """
    source, snapshot, bundle = Path(out) / "submission.csv", Path(config_snapshot), Path(out) / "bundle"
    report = validate_submission(source, expected_planet_ids).raise_for_errors()
    if not snapshot.is_file():
        raise FileNotFoundError(f"{snapshot}: no such file. Run `spectramind predict`, which writes its snapshot.")
    data = source.read_bytes()
    files = [
        write_atomic(bundle / "submission.csv", data),
        write_atomic(bundle / "submission.zip", _zipped("submission.csv", data)),
        write_atomic(bundle / "config.yaml", snapshot.read_bytes()),
    ]
    manifest = {
        "kitlib": __version__,
        "planets": report.planets,
        "warnings": [str(warning) for warning in report.warnings],
        "files": {file.name: {"bytes": file.stat().st_size, "sha256": sha256_file(file)} for file in files},
    }
    write_atomic(bundle / "manifest.json", json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    return bundle


def _zipped(name: str, data: bytes) -> bytes:
    entry = zipfile.ZipInfo(name, _ZIP_TIME)
    entry.compress_type, entry.create_system, entry.external_attr = zipfile.ZIP_DEFLATED, 3, 0o644 << 16
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(entry, data, compresslevel=9)
    return stream.getvalue()


def score_files(solution_csv: Path, submission_csv: Path, train_csv: Path) -> Score:
    """The official score of a submission file; rows are matched by planet id.

    Args:
        solution_csv: true spectra, `planet_id, wl_1..wl_283`.
        submission_csv: a valid submission of exactly these planets.
        train_csv: training targets, for the naive mean and sigma.

    Raises:
        SubmissionError: the submission is not valid, or holds other planets than the solution.
        FrameError: the solution or the training targets cannot be read.
    """
    truth, prediction = read_spectra_csv(Path(solution_csv)), read_submission(submission_csv)
    row_of = {int(planet): row for row, planet in enumerate(prediction.planet_id)}
    wanted = truth.planet_id.tolist()
    differing = sorted(set(wanted) ^ set(row_of))
    if differing:
        place = "missing from the submission" if differing[0] not in row_of else "not in the solution"
        raise SubmissionError(
            f"{submission_csv} and {solution_csv} hold different planets: {differing[0]} is {place} "
            f"({len(differing)} in all). Score a submission against its own solution."
        )
    rows = [row_of[planet] for planet in wanted]
    naive = naive_statistics(read_spectra_csv(Path(train_csv)).depth)
    return gll_score(prediction.mu[rows], prediction.sigma[rows], truth.depth, *naive)
