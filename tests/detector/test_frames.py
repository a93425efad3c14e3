"""Reader: what is in the files comes out; what is wrong is refused with file, place and remedy."""

import pickle

import numpy as np
import polars as pl
import pytest
import small_visit as sv

from kitlib.base.instruments import AIRS, FGS1
from kitlib.detector.axes import read_axis_info
from kitlib.detector.csvtable import FrameError
from kitlib.detector.frames import list_visits, read_calibration, read_signal
from kitlib.detector.tables import read_adc_info, read_catalogue, read_spectra_csv

HEADER = "planet_id,Rs,Ms,Ts,Mp,e,P,sma,i\n"
ROW = ",1.0,1.0,5800.0,1.0,0.0,4.0,10.0,89.0\n"


@pytest.fixture
def planet(tmp_path):
    """FGS1 only: small files, eight pairs."""
    maps = sv.calibration("FGS1", np.random.default_rng(0))
    sv.write_calibration(tmp_path / "7" / "FGS1_calibration_0", maps)
    frames = np.random.default_rng(1).integers(400, 60_000, (16, 1024)).astype(np.uint16)
    sv.write_signal(tmp_path / "7" / "FGS1_signal_0.parquet", frames)
    return tmp_path / "7", maps, frames


def test_catalogue_takes_integer_and_float_ids(tmp_path):
    path = tmp_path / "test_star_info.csv"
    path.write_text(HEADER + "1103775.0" + ROW + "42" + ROW)
    catalogue = read_catalogue(path)
    assert catalogue.planet_id.tolist() == [1103775, 42] and catalogue.planet_id.dtype == np.int64
    assert catalogue.stellar_temperature_k.tolist() == [5800.0, 5800.0]
    assert catalogue.inclination_deg[0] == 89.0


def test_an_empty_catalogue_has_no_planets(tmp_path):
    path = tmp_path / "test_star_info.csv"
    path.write_text(HEADER)
    assert len(read_catalogue(path)) == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HEADER + "1" + ROW + "2" + ROW + "1.0" + ROW, r"row 3, column planet_id: 1 occurs twice"),
        (HEADER + "1.5" + ROW, r"row 1, column planet_id: 1\.5 is not an id"),
        (HEADER + "1" + ROW + "x" + ROW, r"row 2, column planet_id: 'x' is not a number"),
        (HEADER + "1,1.0,1.0,,1.0,0.0,4.0,10.0,89.0\n", r"row 1, column Ts: not a finite number"),
        (HEADER + "1,-1.0,1.0,5800,1.0,0.0,4.0,10.0,89.0\n", r"row 1, column Rs: -1\.0 is not positive"),
        ("planet_id,Rs\n1,1.0\n", r"columns \['Ms', 'Ts', 'Mp', 'P', 'sma'\] are missing"),
    ],
)
def test_a_wrong_catalogue_is_refused_with_its_place(tmp_path, text, expected):
    path = tmp_path / "star_info.csv"
    path.write_text(text)
    with pytest.raises(FrameError, match=expected) as caught:
        read_catalogue(path)
    assert str(path) in str(caught.value)


def test_spectra_and_converter(tmp_path):
    names = ",".join(f"wl_{i}" for i in range(1, 284))
    (tmp_path / "train.csv").write_text(f"planet_id,{names}\n5," + ",".join(str(i / 1e4) for i in range(283)) + "\n")
    spectra = read_spectra_csv(tmp_path / "train.csv")
    assert spectra.planet_id.tolist() == [5] and np.allclose(spectra.depth[0], np.arange(283) / 1e4)
    sv.write_tables(tmp_path, [1], 10)
    assert read_adc_info(tmp_path).of(5)["AIRS-CH0"].gain == sv.GAIN
    (tmp_path / "adc_info.csv").write_text(
        "FGS1_adc_offset,FGS1_adc_gain,AIRS-CH0_adc_offset,AIRS-CH0_adc_gain\n-1000,0,-1000,1\n"
    )
    with pytest.raises(FrameError, match=r"gain 0\.0 is not positive"):
        read_adc_info(tmp_path)


def test_axis_times_are_the_middle_of_what_a_pair_integrates(real_dir):
    axes = read_axis_info(real_dir / "competition")
    assert len(axes.airs.time_h) == 5625 and len(axes.fgs1.time_h) == 67_500
    # stamps: first AIRS pair starts its reads at 0.1 and 0.2 s; the second exposure of 4.5 s ends at 4.7 s
    assert axes.airs.time_h[0] * 3600 == pytest.approx(2.45, abs=0.02)
    assert axes.fgs1.time_h[0] * 3600 == pytest.approx(0.25, abs=0.02)
    assert (axes.airs.first_read_s, axes.airs.last_read_s) == pytest.approx((0.1, 4.6))
    assert axes.of(FGS1).cds_s == pytest.approx(0.1) and axes.of(AIRS).cds_s == pytest.approx(4.5)


@pytest.mark.parametrize("problem", ["odd", "backwards", "integration", "missing"])
def test_a_wrong_axis_is_refused(tmp_path, problem):
    sv.write_tables(tmp_path, [1], 300)
    path = tmp_path / "axis_info.parquet"
    table = pl.read_parquet(path)
    stamps = table["FGS1-axis0-h"].to_numpy().copy()
    if problem == "odd":
        table = table.with_columns(pl.Series("FGS1-axis0-h", [*stamps[:-1], None]))
    elif problem == "backwards":
        table = table.with_columns(pl.Series("FGS1-axis0-h", stamps[::-1]))
    elif problem == "integration":
        table = table.with_columns(pl.lit(4.5).alias("AIRS-CH0-integration_time"))
    else:
        table = table.drop("AIRS-CH0-axis2-um")
    table.write_parquet(path)
    with pytest.raises(FrameError, match="axis_info.parquet"):
        read_axis_info(tmp_path)


def test_visits_are_found_from_either_instrument(tmp_path):
    for name in ("AIRS-CH0_signal_0.parquet", "FGS1_signal_1.parquet", "FGS1_signal_x.parquet", "notes.txt"):
        (tmp_path / name).touch()
    assert list_visits(tmp_path) == [0, 1]


def test_signal_comes_out_pixel_by_pixel(planet):
    folder, _, frames = planet
    signal = read_signal(folder, FGS1, 0, 8)
    assert signal.n_pairs == 8 and all(column.dtype == np.uint16 for column in signal.columns)
    assert np.array_equal(np.stack(signal.columns), frames.T)
    some = read_signal(folder, FGS1, 0, 8, np.array([3, 500, 1023]))
    assert np.array_equal(np.stack(some.columns), frames.T[[3, 500, 1023]])
    assert np.array_equal(np.stack(sv.signal_of(FGS1, frames).columns), frames.T)


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        ("missing", "file is missing"),
        ("truncated", "truncated or damaged"),
        ("columns", "1023 columns, not 1024"),
        ("dtype", "is Float64, not UInt16"),
        ("odd", "15 frames: an odd number"),
        ("short", "14 frames, but axis_info.parquet announces 16"),
        ("null", "missing values"),
    ],
)
def test_a_wrong_signal_is_refused(planet, problem, expected):
    folder, _, _ = planet
    path = folder / "FGS1_signal_0.parquet"
    table = pl.read_parquet(path)
    changed = {
        "columns": lambda: table.drop("column_9"),
        "dtype": lambda: table.with_columns(pl.col("column_9").cast(pl.Float64)),
        "odd": lambda: table[:15],
        "short": lambda: table[:14],
        "null": lambda: table.with_columns(pl.Series("column_9", [None, *range(15)], dtype=pl.UInt16)),
    }
    if problem == "missing":
        path.unlink()
    elif problem == "truncated":
        path.write_bytes(path.read_bytes()[:-200])
    else:
        changed[problem]().write_parquet(path)
    with pytest.raises(FrameError, match=expected) as caught:
        read_signal(folder, FGS1, 0, 8)
    said = str(caught.value)
    assert str(path) in said and ("Download" in said or "axis_info" in said)


def test_damage_inside_the_pages_is_refused(planet):
    path = planet[0] / "FGS1_signal_0.parquet"
    data = bytearray(path.read_bytes())
    data[4:4000] = bytes(3996)
    path.write_bytes(bytes(data))
    with pytest.raises(FrameError, match="truncated or damaged"):
        read_signal(planet[0], FGS1, 0, 8)


def test_calibration_comes_out_as_stored(planet):
    folder, maps, _ = planet
    raw = read_calibration(folder, FGS1, 0)
    live = ~maps["dead"]
    assert np.array_equal(raw.dead, maps["dead"]) and not raw.unusable.any() and raw.notes == ()
    for name in ("dark", "flat", "read"):
        assert np.array_equal(getattr(raw, name)[live], maps[name][live])
    assert np.array_equal(raw.linear_corr[:, live], maps["linear_corr"].reshape(6, 32, 32)[:, live])


@pytest.mark.parametrize(
    ("name", "value"),
    [("dark", np.nan), ("dark", np.inf), ("flat", 0.0), ("flat", np.nan), ("read", -3.0), ("linear_corr", np.nan)],
)
def test_a_single_absurd_pixel_is_masked_and_noted(planet, name, value):
    folder, maps, _ = planet
    values = maps[name].copy()
    values[9, 11] = value
    sv.write_calibration(folder / "FGS1_calibration_0", maps | {name: values})
    raw = read_calibration(folder, FGS1, 0)
    assert raw.unusable.sum() == 1
    assert f"{name}.parquet: 1 pixels" in raw.notes[0] and "masked" in raw.notes[0]
    assert all(np.isfinite(part).all() for part in (raw.dark, raw.flat, raw.linear_corr, raw.read))


@pytest.mark.parametrize("name", ["dark", "flat", "read", "linear_corr"])
def test_an_absurd_frame_is_refused(planet, name):
    folder, maps, _ = planet
    sv.write_calibration(folder / "FGS1_calibration_0", maps | {name: np.full_like(maps[name], np.nan)})
    with pytest.raises(FrameError, match=rf"{name}\.parquet: 9\d\.\d% of the live pixels"):
        read_calibration(folder, FGS1, 0)


@pytest.mark.parametrize("problem", ["folder", "file", "shape", "dead type", "text", "all dead"])
def test_a_wrong_calibration_is_refused(planet, problem):
    folder, maps, _ = planet
    calibration = folder / "FGS1_calibration_0"
    if problem == "folder":
        calibration.rename(folder / "elsewhere")
    elif problem == "file":
        (calibration / "flat.parquet").unlink()
    elif problem == "shape":
        sv.write_calibration(calibration, maps | {"linear_corr": maps["linear_corr"][:160]})
    elif problem == "dead type":
        sv.write_calibration(calibration, maps | {"dead": maps["dead"].astype(float)})
    elif problem == "text":
        sv.write_calibration(calibration, maps | {"dark": maps["dark"].astype(str)})
    else:
        sv.write_calibration(calibration, maps | {"dead": np.ones((32, 32), bool)})
    with pytest.raises(FrameError, match="FGS1_calibration_0"):
        read_calibration(folder, FGS1, 0)


def test_errors_cross_process_boundaries():
    error = FrameError("a/b.parquet", "is damaged")
    assert str(pickle.loads(pickle.dumps(error))) == str(error) and isinstance(error, ValueError)


def test_real_calibration_of_two_detectors_reads(real_dir, tmp_path):
    folder = real_dir / "competition" / "train" / "342072318"
    for instrument in (FGS1, AIRS):
        raw = read_calibration(folder, instrument, 0)
        assert raw.unusable.mean() < 0.002 and 0.0005 < raw.dead.mean() < 0.004
    (tmp_path / "AIRS-CH0_calibration_0").symlink_to(real_dir / "other_detector" / "AIRS_CH0_cal0")
    other = read_calibration(tmp_path, AIRS, 0)
    assert not np.array_equal(other.dead, raw.dead)
