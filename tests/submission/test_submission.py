"""Submission: round trip, forty mutations of a valid file refused one by one, packaging, official score from files."""

import hashlib
import json
import re
import zipfile
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from kitlib.base.instruments import submission_columns
from kitlib.base.products import Prediction
from kitlib.submission.validation import SubmissionError, read_submission, validate_submission
from kitlib.submission.writer import package, read_expected_ids, score_files, write_submission

IDS = np.array([342072318, 1103775, 9007199254740993, 24135240], np.int64)  # not sorted; one above 2^53
COLUMNS = ["planet_id", *(f"wl_{i}" for i in range(1, 284)), *(f"sigma_{i}" for i in range(1, 284))]


def prediction(ids=IDS, seed=0):
    rng = np.random.default_rng(seed)
    shape = (len(ids), 283)
    return Prediction(ids, rng.uniform(0.004, 0.08, shape), rng.uniform(1e-5, 1e-3, shape))


@pytest.fixture
def valid(tmp_path) -> Path:
    return write_submission(tmp_path / "submission.csv", prediction(), IDS)


def test_columns_are_the_official_ones():
    assert submission_columns() == COLUMNS and len(COLUMNS) == 567


def test_real_sample_submission_has_our_columns(real_dir):
    """The fragment ends within its header, after 360 of 567 names."""
    header = (real_dir / "competition" / "sample_submission.csv").read_text()
    assert len(header) > 2500 and ",".join(COLUMNS).startswith(header)


def test_a_valid_file_passes_and_reads_back(valid):
    report = validate_submission(valid, IDS)
    assert report.ok and report.planets == 4 and report.warnings == ()
    got, sent = read_submission(valid), prediction()
    np.testing.assert_array_equal(got.planet_id, IDS)
    np.testing.assert_allclose(got.mu, sent.mu, rtol=5.1e-9, atol=0)
    np.testing.assert_allclose(got.sigma, sent.sigma, rtol=5.1e-9, atol=0)
    assert np.abs(got.mu - sent.mu).max() < 1e-9


def test_rows_are_written_in_the_order_of_the_test_set(tmp_path):
    order = IDS[[2, 0, 3, 1]]
    path = write_submission(tmp_path / "s.csv", prediction(), order)
    got = read_submission(path)
    np.testing.assert_array_equal(got.planet_id, order)
    np.testing.assert_allclose(got.mu, prediction().mu[[2, 0, 3, 1]], rtol=1e-8)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_float32_round_trip_is_exact(tmp_path_factory, data):
    count = data.draw(st.integers(1, 3))
    ids = np.array(
        data.draw(st.lists(st.integers(0, 2**63 - 1), min_size=count, max_size=count, unique=True)), np.int64
    )
    numbers = st.floats(2.0**-60, 0.25, width=32)
    few = data.draw(st.lists(numbers, min_size=8, max_size=8))
    mu = np.resize(np.array(few, np.float32), (count, 283))
    sigma = np.resize(np.array(few[::-1], np.float32), (count, 283))
    path = write_submission(tmp_path_factory.mktemp("s") / "s.csv", Prediction(ids, mu, sigma), ids)
    got = read_submission(path)
    np.testing.assert_array_equal(got.planet_id, ids)
    np.testing.assert_array_equal(got.mu.astype(np.float32), mu)
    np.testing.assert_array_equal(got.sigma.astype(np.float32), sigma)


# --- mutations: name -> (what happens to the cells or bytes, what the message must say) ---


def cell(row, column, text):
    """Replace one cell; row 0 is the header."""

    def change(table):
        table[row][COLUMNS.index(column)] = text

    return change


def swap_columns(table):
    for row in table:
        row[5], row[6] = row[6], row[5]


def insert_index(table):
    for number, row in enumerate(table):
        row.insert(0, "" if number == 0 else str(number - 1))


def drop_column(table):
    for row in table:
        del row[COLUMNS.index("wl_100")]


def drop_last_column(table):
    for row in table:
        del row[-1]


def add_column(table):
    for number, row in enumerate(table):
        row.append("score" if number == 0 else "1")


def sigma_before_wl(table):
    for row in table:
        row[1:] = row[284:] + row[1:284]


def row_moved(table):
    table[1], table[3] = table[3], table[1]


def repeat_row(table):
    table.append(list(table[2]))


def replace_planet(table):
    table[2][0] = "77"


def extra_planet(table):
    table.append(["77", *table[1][1:]])


TABLE_MUTATIONS = {
    "shuffled rows": (row_moved, r"row 1 .*planet_id.*342072318 belongs here"),
    "swapped columns": (swap_columns, r"header.*column wl_6: stands where wl_5 must be \(column 6\)"),
    "sigma block first": (sigma_before_wl, r"header.*column sigma_1: stands where wl_1"),
    "missing planet": (lambda t: t.pop(2), r"row 2 .*planet_id: planet 1103775 is missing"),
    "extra planet": (extra_planet, r"row 5 .*planet 77.*not in the test set"),
    "wrong planet": (replace_planet, r"row 2 .*planet 77.*not in the test set"),
    "duplicate planet": (repeat_row, r"row 5 .*planet 1103775.*occurs twice, first in row 2"),
    "float id": (cell(2, "planet_id", "1103775.0"), r"row 2 .*planet_id.*written as a float"),
    "hexadecimal id": (cell(2, "planet_id", "0x10D79F"), r"row 2 .*planet_id.*hexadecimal"),
    "exponent id": (cell(2, "planet_id", "1.103775e6"), r"row 2 .*planet_id.*not an integer"),
    "negative id": (cell(2, "planet_id", "-1103775"), r"row 2 .*planet_id.*not an integer"),
    "id with a leading zero": (cell(2, "planet_id", "01103775"), r"row 2 .*planet_id.*not an integer"),
    "id overflow": (cell(2, "planet_id", "9223372036854775808"), r"row 2 .*planet_id.*too large"),
    "empty id": (cell(2, "planet_id", ""), r"row 2 .*planet_id.*empty"),
    "text id": (cell(2, "planet_id", "HD209458b"), r"row 2 .*planet_id.*not an integer"),
    "id off by one above 2^53": (
        cell(3, "planet_id", "9007199254740992"),
        r"row 3 .*9007199254740992.*not in the test",
    ),
    "NaN": (cell(3, "wl_7", "nan"), r"row 3 .*column wl_7: 'nan' .*not finite"),
    "infinity": (cell(3, "sigma_7", "inf"), r"row 3 .*column sigma_7: 'inf' .*not finite"),
    "number overflow": (cell(3, "sigma_9", "1e999"), r"row 3 .*column sigma_9: .*too large"),
    "negative depth": (cell(1, "wl_283", "-1e-9"), r"row 1 .*column wl_283: -1e-09 must be not negative"),
    "negative sigma": (cell(4, "sigma_1", "-0.0001"), r"row 4 .*column sigma_1: -0.0001 must be greater than 0"),
    "zero sigma": (cell(4, "sigma_283", "0.0"), r"row 4 .*column sigma_283: 0 must be greater than 0"),
    "underflowing sigma": (cell(4, "sigma_3", "1e-400"), r"row 4 .*column sigma_3: 0 must be greater than 0"),
    "text cell": (cell(2, "wl_50", "deep"), r"row 2 .*column wl_50: 'deep' is not a decimal number"),
    "empty cell": (cell(2, "wl_51", ""), r"row 2 .*column wl_51: .*empty cell"),
    "blank in a number": (cell(2, "wl_52", " 0.01"), r"row 2 .*column wl_52: .*blanks"),
    "hexadecimal number": (cell(2, "wl_53", "0x1p-7"), r"row 2 .*column wl_53: .*hexadecimal"),
    "digit separator": (cell(2, "wl_54", "0.014_6"), r"row 2 .*column wl_54: .*digit separators"),
    "quoted number": (cell(2, "wl_55", '"0.01"'), r"row 2 .*column wl_55: .*quotes"),
    "non-Latin digits": (cell(2, "wl_56", "٠.٠١"), r"row 2 .*column wl_56: .*not a decimal number"),
    "boolean": (cell(2, "wl_57", "True"), r"row 2 .*column wl_57: .*not a decimal number"),
    "comma decimal": (cell(2, "wl_58", "0,0146"), r"row 2 .*568 cells instead of 567: .*decimal commas"),
    "missing column": (drop_column, r"header.*column wl_101: stands where wl_100 must be"),
    "missing last column": (drop_last_column, r"header.*column sigma_283: is missing"),
    "extra column": (add_column, r"header.*column score: is one of 1 columns too many"),
    "renamed column": (cell(0, "sigma_4", "std_4"), r"header.*column std_4: stands where sigma_4"),
    "renamed id column": (cell(0, "planet_id", "id"), r"header.*column id: stands where planet_id"),
    "duplicated column name": (cell(0, "wl_3", "wl_2"), r"header.*column wl_2: stands where wl_3"),
    "upper-case column": (cell(0, "wl_3", "WL_3"), r"header.*column WL_3: stands where wl_3"),
    "header with blanks": (cell(0, "wl_3", " wl_3"), r"header.*column wl_3: .*blanks or quotes"),
    "header with quotes": (cell(0, "wl_3", '" wl_3"'), r"header.*column wl_3: .*blanks or quotes"),
    "index column": (insert_index, r"header.*column planet_id: .*index column"),
    "empty line": (lambda t: t.insert(2, [""]), r"row 2 .*planet_id: the line is empty"),
    "short row": (lambda t: t[3].pop(), r"row 3 .*column sigma_282: 566 cells instead of 567"),
    "long row": (lambda t: t[3].append("0.1"), r"row 3 .*568 cells instead of 567"),
    "header only": (lambda t: t.__delitem__(slice(1, None)), r"row 1 .*planet_id: there is a header but no planet"),
    "no header": (lambda t: t.pop(0), r"header.*stands where planet_id must be"),
}
BYTE_MUTATIONS = {
    "empty file": (lambda b: b"", r"the file is empty"),
    "blank file": (lambda b: b"\n\n", r"the file is empty"),
    "byte order mark": (lambda b: b"\xef\xbb\xbf" + b, r"header.*planet_id: .*byte order mark"),
    "UTF-16": (lambda b: b.decode().encode("utf-16"), r"byte order mark"),
    "semicolons": (lambda b: b.replace(b",", b";"), r"header.*not separated by commas"),
    "tabs": (lambda b: b.replace(b",", b"\t"), r"header.*not separated by commas"),
    "German table": (lambda b: b.replace(b",", b";").replace(b".", b","), r"header.*not separated by commas"),
    "cut in the last number": (lambda b: b[:-3], r"row 4 .*column sigma_283: the last line does not end"),
    "cut in the last line": (lambda b: b[: b.rindex(b"\n", 0, -1) + 2000], r"row 4 .*the last line does not end"),
    "cut in the header": (lambda b: b[:60], r"column .*"),
    "not UTF-8": (lambda b: b[:-200] + b"\xff" + b[-199:], r"row 4 .*column sigma_\d+: byte 0xff is not UTF-8"),
    "zero bytes": (lambda b: b[:-200] + b"\0\0" + b[-198:], r"row 4 .*column sigma_\d+: .*not a decimal number"),
    "gzip": (lambda b: b"\x1f\x8b\x08\0" + b[:500], r"header"),
    "old Mac line ends": (lambda b: b.replace(b"\n", b"\r"), r"last line does not end"),
}


def refused(path, pattern):
    report = validate_submission(path, IDS)
    assert not report.ok
    with pytest.raises(SubmissionError, match=pattern) as caught:
        report.raise_for_errors()
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", TABLE_MUTATIONS)
def test_a_mutated_table_is_refused(valid, name):
    change, pattern = TABLE_MUTATIONS[name]
    table = [line.split(",") for line in valid.read_text().splitlines()]
    change(table)
    mutated = "\n".join(",".join(row) for row in table) + "\n"
    assert mutated != valid.read_text()
    valid.write_text(mutated, encoding="utf-8")
    refused(valid, pattern)


@pytest.mark.parametrize("name", BYTE_MUTATIONS)
def test_a_mutated_file_is_refused(valid, name):
    change, pattern = BYTE_MUTATIONS[name]
    data = change(valid.read_bytes())
    assert data != valid.read_bytes()
    valid.write_bytes(data)
    refused(valid, pattern)


def test_a_missing_file_is_refused(tmp_path):
    refused(tmp_path / "nowhere.csv", "no such file: run")


def test_all_bad_cells_are_reported_up_to_a_limit(tmp_path, valid):
    table = [line.split(",") for line in valid.read_text().splitlines()]
    for row in table[1:]:
        row[284:] = ["nan"] * 283
    valid.write_text("\n".join(",".join(row) for row in table) + "\n")
    report = validate_submission(valid, IDS)
    assert len(report.errors) == 100 and {f.column for f in report.errors} == {f"sigma_{i}" for i in range(1, 101)}
    with pytest.raises(SubmissionError, match="and 90 more"):
        report.raise_for_errors()


@pytest.mark.parametrize(
    ("row", "column", "text", "message"),
    [
        (2, "wl_3", "0.25", r"row 2 .*column wl_3: 1 depths lie outside"),
        (2, "wl_3", "0.0001", r"row 2 .*column wl_3: 1 depths lie outside"),
        (3, "sigma_5", "0.05", r"row 3 .*column sigma_5: 1 sigmas lie outside"),
        (3, "sigma_5", "1e-9", r"row 3 .*column sigma_5: 1 sigmas lie outside"),
    ],
)
def test_odd_but_legal_values_are_warnings(valid, row, column, text, message):
    table = [line.split(",") for line in valid.read_text().splitlines()]
    cell(row, column, text)(table)
    valid.write_text("\n".join(",".join(cells) for cells in table) + "\n")
    report = validate_submission(valid, IDS)
    assert report.ok
    (warning,) = report.warnings
    assert re.match(message, str(warning))


def test_one_spectrum_for_all_and_foreign_line_ends_are_warnings(tmp_path):
    same = Prediction(IDS, np.full((4, 283), 0.0146), np.full((4, 283), 0.0106))
    path = write_submission(tmp_path / "s.csv", same, IDS)
    assert "same spectrum" in str(validate_submission(path, IDS).warnings[0])
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    report = validate_submission(path, IDS)
    assert report.ok and "carriage return" in str(report.warnings[0])


def test_scientific_notation_and_integers_are_legal(valid):
    table = [line.split(",") for line in valid.read_text().splitlines()]
    cell(1, "wl_9", "1.46E-02")(table)
    cell(1, "wl_10", "+.0146")(table)
    cell(1, "wl_11", "0")(table)
    valid.write_text("\n".join(",".join(cells) for cells in table) + "\n")
    assert validate_submission(valid, IDS).ok
    assert read_submission(valid).mu[0, 8:11].tolist() == [0.0146, 0.0146, 0.0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: Prediction(p.planet_id[:3], p.mu[:3], p.sigma[:3]), "lacks planet 24135240"),
        (lambda p: Prediction(np.append(p.planet_id, 5), p.mu[[0, 1, 2, 3, 0]], p.sigma[[0, 1, 2, 3, 0]]), "planet 5 "),
        (lambda p: Prediction(IDS[[0, 1, 2, 3, 0]], p.mu[[0, 1, 2, 3, 0]], p.sigma[[0, 1, 2, 3, 0]]), "planets twice"),
        (lambda p: Prediction(p.planet_id, p.mu[:, :282], p.sigma), "must be"),
        (lambda p: Prediction(p.planet_id, p.mu, -p.sigma), r"row 1 .*column sigma_1: .*greater than 0"),
        (lambda p: Prediction(p.planet_id, p.mu * np.nan, p.sigma), r"row 1 .*column wl_1: 'nan'"),
    ],
)
def test_a_bad_prediction_never_replaces_a_good_file(valid, change, message):
    before = valid.read_bytes()
    with pytest.raises(SubmissionError, match=message):
        write_submission(valid, change(prediction()), IDS)
    assert valid.read_bytes() == before
    assert [p.name for p in valid.parent.iterdir()] == ["submission.csv"]


def test_an_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="run.out"):
        write_submission(tmp_path / "file" / "submission.csv", prediction(), IDS)


def test_the_schema_is_itself_valid_and_speaks_of_our_columns():
    from jsonschema import Draft202012Validator

    schema = json.loads(resources.files("kitlib.submission").joinpath("submission.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    row = Draft202012Validator({"$ref": "#/$defs/row", "$defs": schema["$defs"]})
    good = {name: 7 if name == "planet_id" else 0.01 for name in COLUMNS}
    assert row.is_valid(good)
    for change in ({"sigma_1": 0}, {"wl_1": -1}, {"planet_id": 1.5}, {"wl_284": 0.1}, {"sigma_0": 0.1}, {"wl_2": "1"}):
        assert not row.is_valid(good | change), change
    assert not row.is_valid({name: value for name, value in good.items() if name != "wl_5"})
    header = Draft202012Validator(schema["properties"]["header"])
    assert (
        header.is_valid(COLUMNS) and not header.is_valid(COLUMNS[:-1]) and not header.is_valid(COLUMNS[1:] + ["wl_1"])
    )


# --- expected ids ---


def test_ids_come_from_the_star_table_in_its_order_floats_included(tmp_path):
    (tmp_path / "sample_submission.csv").write_text("planet_id,wl_1\n5,0\n")
    assert read_expected_ids(tmp_path).tolist() == [5]
    (tmp_path / "test_star_info.csv").write_text("planet_id,Rs\n9007199254740993.0,1\n1103775,1\n7.,2\n")
    got = read_expected_ids(tmp_path)
    assert got.dtype == np.int64 and got.tolist() == [9007199254740993, 1103775, 7]


def test_ids_of_the_real_star_table(real_dir):
    assert read_expected_ids(real_dir / "competition").tolist() == [1103775]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("planet_id,Rs\n", "test set is empty"),
        ("", "no column planet_id"),
        ("id,Rs\n3,1\n", "no column planet_id"),
        ("planet_id,Rs\n3,1\n3.5,1\n", "line 3, column planet_id: '3.5'"),
        ("planet_id,Rs\n3,1\n,1\n", "line 3, column planet_id: ''"),
        ("planet_id,Rs\nnan,1\n", "line 2"),
        ("planet_id,Rs\n3,1\n3.0,1\n", "planet 3 occurs twice"),
    ],
)
def test_a_bad_star_table_is_refused(tmp_path, text, message):
    (tmp_path / "test_star_info.csv").write_text(text)
    with pytest.raises(SubmissionError, match=message) as caught:
        read_expected_ids(tmp_path)
    assert "test_star_info.csv" in str(caught.value)


def test_a_folder_without_tables_is_refused(tmp_path):
    with pytest.raises(SubmissionError, match="data.root"):
        read_expected_ids(tmp_path)


# --- package ---


def test_the_bundle_holds_what_its_manifest_says_and_is_reproducible(tmp_path, valid):
    (tmp_path / "predict.yaml").write_text("run: {seed: 1}\n")
    bundle = package(tmp_path, tmp_path / "predict.yaml", IDS)
    names = {"submission.csv", "submission.zip", "config.yaml", "manifest.json"}
    first = {p.name: p.read_bytes() for p in bundle.iterdir()}
    assert set(first) == names
    manifest = json.loads(first["manifest.json"])
    assert manifest["planets"] == 4 and set(manifest["files"]) == names - {"manifest.json"}
    for name, entry in manifest["files"].items():
        assert entry == {"bytes": len(first[name]), "sha256": hashlib.sha256(first[name]).hexdigest()}
    with zipfile.ZipFile(bundle / "submission.zip") as archive:
        assert archive.namelist() == ["submission.csv"]
        assert archive.read("submission.csv") == valid.read_bytes()
    package(tmp_path, tmp_path / "predict.yaml", IDS)
    assert {p.name: p.read_bytes() for p in bundle.iterdir()} == first


def test_a_bundle_is_not_made_of_an_invalid_submission_or_without_its_configuration(tmp_path, valid):
    with pytest.raises(FileNotFoundError, match="predict"):
        package(tmp_path, tmp_path / "predict.yaml", IDS)
    (tmp_path / "predict.yaml").write_text("{}\n")
    with pytest.raises(SubmissionError, match="belongs here"):
        package(tmp_path, tmp_path / "predict.yaml", IDS[::-1])
    assert not (tmp_path / "bundle").exists()


# --- score ---


def spectra_csv(path, ids, depth):
    lines = ["planet_id," + ",".join(COLUMNS[1:284])]
    lines += [f"{planet}," + ",".join(repr(float(v)) for v in row) for planet, row in zip(ids, depth, strict=True)]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_score_of_files_is_the_official_formula_whatever_the_order_of_rows(tmp_path, valid):
    rng = np.random.default_rng(3)
    sent = read_submission(valid)
    truth = np.abs(sent.mu + sent.sigma * rng.standard_normal(sent.mu.shape))
    train_depth = rng.uniform(0.003, 0.08, (6, 283))
    ids = [int(i) % 10**6 for i in IDS]  # small enough for any reader
    submission = write_submission(tmp_path / "p.csv", Prediction(np.array(ids), sent.mu, sent.sigma), np.array(ids))
    order = [3, 1, 0, 2]
    solution = spectra_csv(tmp_path / "solution.csv", np.array(ids)[order], truth[order])
    train = spectra_csv(tmp_path / "train.csv", range(6), train_depth)
    got = score_files(solution, submission, train)
    sigma_true = np.append(1e-6, np.full(282, 1e-5))
    naive = norm.logpdf(truth, train_depth.mean(), train_depth.std())
    s = (norm.logpdf(truth, sent.mu, sent.sigma) - naive) / (norm.logpdf(truth, truth, sigma_true) - naive)
    weights = np.append(57.846, np.ones(282)) * np.ones_like(s)
    assert got.total == pytest.approx(np.average(s, weights=weights), abs=1e-6)
    assert 0 < got.total < 1
    assert (got.fgs1, got.airs) == pytest.approx((s[:, 0].mean(), s[:, 1:].mean()), abs=1e-6)
    with pytest.raises(SubmissionError, match="different planets"):
        score_files(spectra_csv(tmp_path / "other.csv", ids[:3], truth[:3]), submission, train)
