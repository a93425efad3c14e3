"""The same content in other forms, as spreadsheets, pandas, R and object stores write it: the same answer.

And the same form with other content, units above all: an error, or the planet's damage, that names column and cause.
"""

import codecs
import functools
import gzip
import os
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import small_visit as sv
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kitlib.base.instruments import AIRS, FGS1, N_BINS
from kitlib.detector.axes import read_axis_info
from kitlib.detector.csvtable import FrameError, read_csv
from kitlib.detector.frames import read_calibration, read_signal
from kitlib.detector.tables import read_adc_info, read_catalogue, read_spectra_csv, read_wavelengths
from kitlib.submission.writer import read_planet_ids

few = functools.partial(settings, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
BINS = [f"wl_{i}" for i in range(1, N_BINS + 1)]
IDS = [9007199254740993, 42, 1103775]  # one above 2^53
STARS = {
    "planet_id": [str(planet) for planet in IDS],
    "Rs": ["1.1", "0.65", "2.8"],
    "Ms": ["1.05", "0.6", "1.8"],
    "Ts": ["5800.5", "4236", "6979"],
    "Mp": ["1.5", "0.05", "24.7"],
    "e": ["0.0", "0.0", "0.0"],
    "P": ["4.1", "2.78", "7.6"],
    "sma": ["10.0", "10.4", "7.2"],
    "i": ["89.2", "86.1", "90.0"],
}
SPECTRA = {"planet_id": STARS["planet_id"], **{name: ["0.0123", "0.004", "0.08"] for name in BINS}}
ADC = {
    "FGS1_adc_offset": ["-1000.0"],
    "FGS1_adc_gain": ["0.4369"],
    "AIRS-CH0_adc_offset": ["-900.5"],
    "AIRS-CH0_adc_gain": ["0.5"],
}
WAVELENGTHS = {name: [f"{0.7 if k == 0 else 1.95 + 0.007 * k:.6f}"] for k, name in enumerate(BINS)}


@st.composite
def forms(draw, keep_rows: bool = False):
    """A function that writes a table, {name: cells}, as one program or another would."""
    order = draw(st.randoms(use_true_random=False))
    quoted, padded = draw(st.sampled_from(["", '"'])), draw(st.sampled_from(["", " ", "\t"]))
    end, blank = draw(st.sampled_from(["\n", "\r\n", "\r"])), draw(st.sampled_from([0, 1, 3]))
    mark, last = draw(st.sampled_from([b"", codecs.BOM_UTF8])), draw(st.booleans())
    commas, extra = draw(st.integers(0, 3)), draw(st.sampled_from(["", "Unnamed: 0", "__index_level_0__", "note"]))
    floats = draw(st.booleans())

    def write(path: Path, table: dict[str, list[str]]) -> None:
        names, count = list(table), len(next(iter(table.values())))
        order.shuffle(names)
        rows = list(range(count))
        if not keep_rows:
            order.shuffle(rows)
        cells = {
            name: [f"{text}.0" if floats and name == "planet_id" else text for text in table[name]] for name in names
        }
        if extra:
            cells = {extra: [f"{row}" for row in range(count)], **cells}
        lines = [[*cells], *([column[row] for column in cells.values()] for row in rows)]
        texts = [",".join(f"{quoted}{padded}{cell}{padded}{quoted}" for cell in line) + "," * commas for line in lines]
        for _ in range(blank):
            texts.insert(order.randrange(len(texts) + 1), order.choice(["", "  ", "," * len(cells)]))
        path.write_bytes(mark + (end.join(texts) + end * last).encode())
        assert read_csv(path).commas == (commas > 0)

    return write


@few(max_examples=60)
@given(forms())
def test_a_catalogue_in_any_form_is_the_same(tmp_path, write):
    path = tmp_path / "test_star_info.csv"
    write(path, STARS)
    catalogue = read_catalogue(path)
    assert sorted(catalogue.planet_id.tolist()) == sorted(IDS) == sorted(read_planet_ids(path).tolist())
    for planet in IDS:
        (row,) = np.flatnonzero(catalogue.planet_id == planet)
        values = [float(getattr(catalogue, name)[row]) for name in list(catalogue.__dataclass_fields__)[1:]]
        names = ("Rs", "Ms", "Ts", "Mp", "P", "sma", "i")
        assert values == [float(STARS[name][IDS.index(planet)]) for name in names]


@few(max_examples=30)
@given(forms())
def test_spectra_converter_and_wavelengths_in_any_form_are_the_same(tmp_path, write):
    write(tmp_path / "train.csv", SPECTRA)
    write(tmp_path / "adc_info.csv", ADC)
    write(tmp_path / "wavelengths.csv", WAVELENGTHS)
    spectra, adc = read_spectra_csv(tmp_path / "train.csv"), read_adc_info(tmp_path).of(7)
    depth = {planet: float(text) for planet, text in zip(IDS, SPECTRA["wl_1"], strict=True)}
    assert {int(p): set(row) for p, row in zip(spectra.planet_id, spectra.depth, strict=True)} == {
        planet: {value} for planet, value in depth.items()
    }
    assert (adc["FGS1"].gain, adc["FGS1"].offset_e) == (0.4369, -1000.0)
    assert (adc["AIRS-CH0"].gain, adc["AIRS-CH0"].offset_e) == (0.5, -900.5)
    assert read_wavelengths(tmp_path / "wavelengths.csv").tolist() == [float(WAVELENGTHS[name][0]) for name in BINS]


def text_of(table: dict[str, list[str]]) -> str:
    rows = zip(*table.values(), strict=True)
    return "\n".join([",".join(table), *(",".join(row) for row in rows)]) + "\n"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: text.replace(",", ";"), "separated by ';'"),
        (lambda text: text.replace(",", "\t"), r"separated by '\\t'"),
        (lambda text: text.replace(",", " "), "separated by ' '"),
        (lambda text: "\n".join([text.split("\n")[0], *(f"{k},{row}" for k, row in enumerate(text.split("\n")[1:4]))]),
         "row 1, line 2 has 10 cells, the header 9 .*row names"),
        (lambda text: text.replace(".", ","), "cells, the header 9 .*decimal commas"),
        (lambda text: text.split("\n", 1)[1], "columns .* are missing"),
        (lambda text: text.replace("Ms", "Rs"), r"columns \['Ms'\] are missing"),
        (lambda text: text.replace(",e,", ",sma,"), "column sma is there 2 times"),
        (lambda text: text.replace("42,", "42.5,"), "42.5 is not an id"),
        (lambda text: text.replace("42,", "4.2E+01,"), "'4.2E.01' is not a number"),
        (lambda text: text.replace("0.65", "0.6_5"), "column Rs: '0.6_5' is not a number"),
        (lambda text: text.replace("0.65", "٠"), "column Rs: '٠' is not a number"),
        (lambda text: text.replace("0.65", "1e400"), "column Rs: not a finite number"),
        (lambda text: text.replace("0.65", '"0.65'), "cannot be read as CSV"),
        (lambda text: text.encode("utf-16"), "UTF-16 text"),
        (lambda text: text.encode("utf-16-le"), "text in UTF-16"),
        (lambda text: text.replace("Rs", "Ré").encode("latin-1"), "line 1: byte 0xe9 is not UTF-8"),
        (lambda text: gzip.compress(text.encode()), "compressed with gzip"),
        (lambda text: "<!DOCTYPE html><p>Sign in", "a web page"),
        (lambda text: '{"code": 403, "message": "denied"}', "JSON"),
        (lambda text: "version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git LFS"),
    ],
)  # fmt: skip
def test_a_catalogue_with_other_content_is_refused_by_what_it_is(tmp_path, change, says):
    path, changed = tmp_path / "test_star_info.csv", change(text_of(STARS))
    path.write_bytes(changed if isinstance(changed, bytes) else changed.encode())
    with pytest.raises(FrameError, match=says) as refused:
        read_catalogue(path)
    assert str(path) in str(refused.value)


UNITS = {  # a column in another unit: the real systems' least and largest value in it
    "P": {"hours": 24, "minutes": 1440, "seconds": 86_400, "years": 1 / 365.25},
    "sma": {"AU": None, "km": 6.957e5, "m": 6.957e8},
    "Rs": {"Jupiter radii": 9.95, "Earth radii": 109.1, "km": 6.957e5, "m": 6.957e8},
    "Ms": {"Jupiter masses": 1047.6, "Earth masses": 3.33e5, "kg": 1.988e30},
    "Ts": {"kilokelvin": 1e-3},
    "Mp": {"kg": 1.898e27},
    "i": {"radians": np.pi / 180},
}


@pytest.mark.parametrize(("name", "unit"), [(name, unit) for name, units in UNITS.items() for unit in units])
def test_every_real_system_in_another_unit_is_damage_of_its_row(tmp_path, real_dir, name, unit):
    table = pl.read_csv(real_dir / "competition" / "train_star_info.csv")
    factor = UNITS[name][unit]
    other = table["sma"] * table["Rs"] * 0.004652 if unit == "AU" else table[name] * factor
    table.with_columns(other.alias(name)).write_csv(tmp_path / "test_star_info.csv")
    damaged: dict[int, str] = {}
    assert len(read_catalogue(tmp_path / "test_star_info.csv", damaged)) == 0
    assert len(damaged) == len(table)
    assert all(f"column {name}: " in reason and "lies outside of" in reason for reason in damaged.values())
    assert sum(f"is it in {unit}?" in reason for reason in damaged.values()) > 0.9 * len(table) or unit == "m"


def test_the_real_catalogue_has_neither_damage_nor_doubt(real_dir):
    damaged: dict[int, str] = {}
    doubtful: dict[int, str] = {}
    path = real_dir / "competition" / "train_star_info.csv"
    assert len(read_catalogue(path, damaged, doubtful)) == 1100 and not damaged and not doubtful


@pytest.mark.parametrize(
    ("column", "text", "doubt"),
    [
        ("P", "8.9", "column sma: 10 where Kepler's third law gives 16.7 for P 8.9, Ms 1.05, Rs 1.1"),  # off by 2.2
        ("sma", "32", "column sma: 32 where Kepler's third law gives"),
        ("i", "75", "an impact parameter of 2.59 leads past the star"),
        ("e", "0.2", "column e: 0.2 is not used"),
        ("e", "none", "column e: nan is not used"),
    ],
)
def test_a_row_that_contradicts_itself_is_used_and_named(tmp_path, column, text, doubt):
    table = {**STARS, column: [text, *STARS[column][1:]]}
    (tmp_path / "test_star_info.csv").write_text(text_of(table))
    damaged: dict[int, str] = {}
    doubtful: dict[int, str] = {}
    assert len(read_catalogue(tmp_path / "test_star_info.csv", damaged, doubtful)) == 3 and not damaged
    assert list(doubtful) == IDS[:1] and doubt in doubtful[IDS[0]] and "row 1, " in doubtful[IDS[0]]


@pytest.mark.parametrize(("factor", "what"), [(100, "percent"), (1e6, "ppm"), (-1, "negative")])
def test_a_spectrum_in_another_unit_is_damage_of_its_row(tmp_path, factor, what):
    rows = {name: [SPECTRA[name][0], str(factor * 0.0123), SPECTRA[name][2]] for name in BINS}
    (tmp_path / "train.csv").write_text(text_of({"planet_id": SPECTRA["planet_id"], **rows}))
    damaged: dict[int, str] = {}
    assert read_spectra_csv(tmp_path / "train.csv", damaged).planet_id.tolist() == [IDS[0], IDS[2]]
    assert "row 2, column wl_1: " in damaged[42] and "is no transit depth" in damaged[42]


# the converter ------------------------------------------------------------------------------------------------------


def per_planet(gains: list[str]) -> str:
    columns = {name: cells * len(gains) for name, cells in ADC.items()} | {"FGS1_adc_gain": gains}
    return text_of({"planet_id": [str(planet) for planet in IDS[: len(gains)]], **columns})


def test_a_converter_a_planet_serves_that_planet(tmp_path):
    (tmp_path / "adc_info.csv").write_text(per_planet(["0.4", "0", "0.5"]))
    converters = read_adc_info(tmp_path)
    assert [converters.of(IDS[k])["FGS1"].gain for k in (0, 2)] == [0.4, 0.5]
    with pytest.raises(FrameError, match=r"adc_info\.csv: row 2, column FGS1_adc_gain: gain 0\.0 is not positive"):
        converters.of(42)
    with pytest.raises(FrameError, match="none for planet 5"):
        converters.of(5)


def test_rows_that_differ_and_name_no_planet_are_refused(tmp_path):
    rows = {name: cells * 2 for name, cells in ADC.items()}
    (tmp_path / "adc_info.csv").write_text(text_of(rows))
    assert read_adc_info(tmp_path).of(1)["FGS1"].gain == 0.4369
    (tmp_path / "adc_info.csv").write_text(text_of(rows | {"FGS1_adc_gain": ["0.4369", "0.5"]}))
    with pytest.raises(FrameError, match="row 2 differs from row 1, and no column planet_id"):
        read_adc_info(tmp_path)


# parquet ------------------------------------------------------------------------------------------------------------

PAIRS = 50  # of each instrument, over the whole visit


@pytest.fixture(scope="module")
def planet(tmp_path_factory) -> Path:
    """FGS1 alone, in a root of its own."""
    root = tmp_path_factory.mktemp("root")
    folder, rng = root / "test" / "7", np.random.default_rng(0)
    sv.write_calibration(folder / "FGS1_calibration_0", sv.calibration("FGS1", rng))
    sv.write_signal(folder / "FGS1_signal_0.parquet", rng.integers(400, 60_000, (2 * PAIRS, 1024)).astype(np.uint16))
    sv.write_tables(root, [7], PAIRS)
    return folder


@st.composite
def parquet_forms(draw):
    """A function that rewrites a parquet file as another program would."""
    order, shuffled = draw(st.randoms(use_true_random=False)), draw(st.sampled_from(["", "sorted", "shuffled"]))
    index, prefix = draw(st.booleans()), draw(st.sampled_from([None, "", "pixel_", "V"]))
    options = {
        "compression": draw(st.sampled_from(["zstd", "snappy", "gzip", "none"])),
        "row_group_size": draw(st.sampled_from([7, 64, 100_000])),
        "use_dictionary": draw(st.booleans()),
        "write_statistics": draw(st.booleans()),
        "version": draw(st.sampled_from(["1.0", "2.6"])),
        "data_page_version": draw(st.sampled_from(["1.0", "2.0"])),
    }

    def rewrite(path: Path, named: bool = True) -> None:
        table = pq.read_table(path)
        if named and prefix is not None:
            table = table.rename_columns([f"{prefix}{number}" for number in range(table.num_columns)])
        names = sorted(table.column_names) if shuffled == "sorted" else list(table.column_names)
        if shuffled == "shuffled":
            order.shuffle(names)
        table = table.select(names)
        if index:
            place = order.randrange(table.num_columns + 1)
            table = table.add_column(place, "__index_level_0__", pa.array(range(table.num_rows)))
        path.unlink()
        pq.write_table(table, path, **options)

    return rewrite


@few(max_examples=25)
@given(parquet_forms())
def test_frames_maps_and_axes_in_any_form_are_the_same(planet, tmp_path_factory, rewrite):
    root = tmp_path_factory.mktemp("copy") / "root"
    shutil.copytree(planet.parents[1], root)
    folder = root / "test" / "7"
    for path in (folder / "FGS1_signal_0.parquet", *sorted((folder / "FGS1_calibration_0").iterdir())):
        rewrite(path)
    rewrite(root / "axis_info.parquet", named=False)
    same_files(planet, folder)


def same_files(sound: Path, other: Path) -> None:
    """Axes, raw frames and calibration frames of two planets agree to the bit."""
    for one, two in zip(*(read_signal(folder, FGS1, 0, PAIRS).columns for folder in (sound, other)), strict=True):
        assert np.array_equal(one, two)
    maps = [read_calibration(folder, FGS1, 0) for folder in (sound, other)]
    for name in ("dark", "dead", "flat", "linear_corr", "read"):
        assert np.array_equal(*(getattr(one, name) for one in maps))
    axes = [read_axis_info(folder.parents[1]) for folder in (sound, other)]
    for instrument in (FGS1, AIRS):
        one, two = (axis.of(instrument) for axis in axes)
        assert np.array_equal(one.time_h, two.time_h) and one.last_read_s == two.last_read_s


STAMPS = ["FGS1-axis0-h", "AIRS-CH0-axis0-h"]
TIME, UM = "AIRS-CH0-integration_time", "AIRS-CH0-axis2-um"


def scaled(factor: float, *names: str):
    return lambda table: table.with_columns(pl.col(name) * factor for name in names)


def values(name: str, change):
    """Change the values of one column, which keeps its padding."""

    def changed(table: pl.DataFrame) -> pl.DataFrame:
        new = change(table[name].drop_nulls().to_numpy().copy()).tolist()
        return table.with_columns(pl.Series(name, new + [None] * (len(table) - len(new)), pl.Float64))

    return changed


def without_sixth(stamps: np.ndarray) -> np.ndarray:
    stamps[5] = np.nan
    return stamps


AXES = {
    "minutes": (scaled(60, *STAMPS), r"FGS1-axis0-h runs from .*hours since .*is it in minutes\?"),
    "seconds": (scaled(3600, *STAMPS), r"FGS1-axis0-h .*is it in seconds\?"),
    "days": (scaled(1 / 24, *STAMPS), r"FGS1-axis0-h .*is it in days\?"),
    "one in minutes": (scaled(60, STAMPS[1]), r"AIRS-CH0-axis0-h .*is it in minutes\?"),
    "half the speed": (scaled(0.5, STAMPS[0]), "FGS1-axis0-h ends at 3.7.* AIRS-CH0-axis0-h ends at 7"),
    "another origin": (values(STAMPS[0], lambda v: v + 10), "FGS1-axis0-h runs from 10"),
    "Julian days": (values(STAMPS[0], lambda v: 2_460_000.5 + v / 24), "FGS1-axis0-h runs from 2.46e.06"),
    "negative": (values(STAMPS[0], lambda v: v - 1), "FGS1-axis0-h runs from -0.99"),
    "exposures in ms": (scaled(1000, TIME), f"{TIME} is 100 and 4500; it must be about 0.1 and 4.5 seconds"),
    "exposures in minutes": (scaled(1 / 60, TIME), f"{TIME} is .*seconds"),
    "wavelengths in nm": (scaled(1000, UM), f"{UM} runs from 4080 to 1630; it must fall from about 4.1 to 1.6 um"),
    "wavelengths that rise": (values(UM, lambda v: v[::-1]), f"{UM} runs from 1.63 to 4.08"),
    "a stamp missing": (values(STAMPS[0], without_sixth), "FGS1-axis0-h: row 6 is missing"),
    "reads of two pairs": (values(STAMPS[0], lambda v: v[1:-1]), "are no pairs of reads"),
    "too fast": (
        values(STAMPS[1], lambda v: np.append(4e-6 * np.arange(len(v) - 1), 7.49)),
        "from one pair of reads to",
    ),
}


@pytest.mark.parametrize("name", AXES)
def test_an_axis_in_another_unit_is_refused_by_column_and_unit(planet, tmp_path, name):
    change, says = AXES[name]
    table = pl.read_parquet(planet.parents[1] / "axis_info.parquet")
    change(table).write_parquet(tmp_path / "axis_info.parquet")
    with pytest.raises(FrameError, match=says):
        read_axis_info(tmp_path)


@pytest.mark.parametrize("padding", [np.nan, None])
@pytest.mark.parametrize("more", [0, 3, 500])
def test_padding_of_any_kind_and_length_is_no_sample(planet, tmp_path, padding, more):
    table = pl.read_parquet(planet.parents[1] / "axis_info.parquet")
    longer = pl.concat([table, pl.DataFrame({name: [None] * more for name in table.columns}, schema=table.schema)])
    padded = longer if padding is None else longer.with_columns(pl.all().fill_null(padding))
    padded.write_parquet(tmp_path / "axis_info.parquet")
    sound, other = read_axis_info(planet.parents[1]), read_axis_info(tmp_path)
    assert all(np.array_equal(sound.of(i).time_h, other.of(i).time_h) for i in (FGS1, AIRS))


def test_the_real_axes_are_what_axes_are_held_to(real_dir):
    assert len(read_axis_info(real_dir / "competition").airs.time_h) == AIRS.pairs_per_visit


# paths --------------------------------------------------------------------------------------------------------------

_NAMES = st.text(st.sampled_from("[]{}()*?!^~#%&$;:=,'\"\\ ab1éü\n@+|<>"), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def decoys(planet, tmp_path_factory) -> Path:
    """Folders of other files, whose names many a pattern matches."""
    above = tmp_path_factory.mktemp("decoys")
    other = shutil.copytree(planet.parents[1], above / "a")
    sv.write_tables(other, [8], PAIRS // 2)
    sv.write_signal(other / "test" / "7" / "FGS1_signal_0.parquet", np.zeros((4, 1024), np.uint16))
    for name in ("b", "1", "data1", "ab", "a1", "v"):
        shutil.copytree(other, above / name, copy_function=os.link)
    return above


@few(max_examples=40)
@given(
    st.one_of(
        _NAMES, st.sampled_from(["ariel [v2]", "data[1]", "year=2025", "*", "**", "?", "~", "%20", "s3:", "$HOME"])
    )
)
def test_a_path_is_taken_as_it_is(planet, decoys, tmp_path_factory, name):
    """Folders that the name would match as a pattern hold other files."""
    above = shutil.copytree(decoys, tmp_path_factory.mktemp("above") / "roots", copy_function=os.link)
    root = above / "below" / name if (above / name).exists() else above / name
    shutil.copytree(planet.parents[1], root, copy_function=os.link)
    same_files(planet, root / "test" / "7")
    assert read_catalogue(root / "test_star_info.csv").planet_id.tolist() == [7]
    assert read_planet_ids(root / "test_star_info.csv").tolist() == [7]
    assert read_adc_info(root).of(7)["FGS1"].gain == sv.GAIN
