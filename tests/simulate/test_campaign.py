"""A small simulated campaign: the competition's layout, the same bytes from the same seed, stopping and going on."""

import hashlib
import json

import numpy as np
import polars as pl
import pytest

from kitlib.base.instruments import AIRS, FGS1, INSTRUMENTS, VISIT_HOURS
from kitlib.base.schema import SimulateConfig
from kitlib.simulate.observatory import simulate_campaign


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    out = tmp_path_factory.mktemp("campaign")
    simulate_campaign(out, SimulateConfig(train_planets=2, test_planets=2, airs_pairs=6, fgs1_pairs=9), 9, 1, False)
    return out


def _digest(folder):
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_layout(campaign):
    data = campaign / "data"
    names = [f"wl_{i}" for i in range(1, 284)]
    assert sorted(p.name for p in campaign.iterdir()) == ["campaign.json", "data", "solution.csv"]
    train, test = (pl.read_csv(data / f"{split}_star_info.csv") for split in ("train", "test"))
    assert train.columns == ["planet_id", "Rs", "Ms", "Ts", "Mp", "e", "P", "sma", "i"] == test.columns
    assert train.schema["planet_id"] == pl.Int64 and test.schema["planet_id"] == pl.Float64
    assert (data / "test_star_info.csv").read_text().splitlines()[1].split(",")[0].endswith(".0")
    targets, solution = pl.read_csv(data / "train.csv"), pl.read_csv(campaign / "solution.csv")
    assert targets.columns == solution.columns == ["planet_id", *names]
    assert targets["planet_id"].to_list() == train["planet_id"].to_list()
    assert solution["planet_id"].to_list() == [int(i) for i in test["planet_id"]]
    sample = pl.read_csv(data / "sample_submission.csv")
    assert sample.width == 567 and sample["planet_id"].to_list() == solution["planet_id"].to_list()
    axis = pl.read_parquet(data / "axis_info.parquet")
    assert [axis[c].drop_nulls().len() for c in axis.columns] == [12, 356, 12, 18]
    assert axis["AIRS-CH0-integration_time"][:4].to_list() == [0.1, 4.5, 0.1, 4.5]
    assert np.isclose(axis["AIRS-CH0-axis0-h"][0] * 3600, 0.1) and axis["FGS1-axis0-h"].max() < VISIT_HOURS
    for split, table in (("train", train), ("test", test)):
        assert sorted(int(p.name) for p in (data / split).iterdir()) == sorted(int(i) for i in table["planet_id"])
        for planet in (data / split).iterdir():
            for instrument, frames in ((AIRS, 12), (FGS1, 18)):
                signal = pl.read_parquet(planet / instrument.signal_file(0))
                assert signal.shape == (frames, instrument.n_pixels) and set(signal.dtypes) == {pl.UInt16}
                assert signal.columns[0] == "column_0" and signal.columns[-1] == f"column_{instrument.n_pixels - 1}"
                for name, rows in (("dark", 32), ("dead", 32), ("flat", 32), ("linear_corr", 192), ("read", 32)):
                    table = pl.read_parquet(planet / instrument.calibration_dir(0) / f"{name}.parquet")
                    assert table.shape == (rows, instrument.cols)
                    assert set(table.dtypes) == {pl.Boolean if name == "dead" else pl.Float64}


def test_same_seed_same_bytes_for_any_number_of_workers(campaign, tmp_path):
    config = SimulateConfig(train_planets=2, test_planets=2, airs_pairs=6, fgs1_pairs=9)
    simulate_campaign(tmp_path / "two", config, 9, 2, False)
    assert _digest(tmp_path / "two") == _digest(campaign)


def test_another_seed_differs(campaign, tmp_path):
    config = SimulateConfig(train_planets=1, test_planets=0, airs_pairs=6, fgs1_pairs=9)
    simulate_campaign(tmp_path, config, 10, 1, False)
    assert (tmp_path / "data" / "train.csv").read_text() != (campaign / "data" / "train.csv").read_text()


def test_a_stopped_campaign_goes_on_and_a_foreign_one_is_refused(tmp_path):
    config = SimulateConfig(train_planets=2, test_planets=0, airs_pairs=4, fgs1_pairs=4)
    simulate_campaign(tmp_path, config, 1, 1, False)
    before = _digest(tmp_path)
    first, second = sorted((tmp_path / "data" / "train").iterdir())
    stamp = first.stat().st_mtime_ns
    for path in sorted(second.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    second.rmdir()
    (second.with_name(f".{second.name}.part")).mkdir()  # what a killed run leaves
    simulate_campaign(tmp_path, config, 1, 1, False)
    assert _digest(tmp_path) == before and first.stat().st_mtime_ns == stamp
    with pytest.raises(ValueError, match="another campaign: delete"):
        simulate_campaign(tmp_path, config, 2, 1, False)
    assert json.loads((tmp_path / "campaign.json").read_text())["seed"] == 1


def test_two_visits_have_their_own_files(tmp_path):
    config = SimulateConfig(train_planets=1, test_planets=0, airs_pairs=4, fgs1_pairs=4, two_visit_fraction=1.0)
    simulate_campaign(tmp_path, config, 1, 1, False)
    planet = next((tmp_path / "data" / "train").iterdir())
    for instrument in INSTRUMENTS:
        first, second = (pl.read_parquet(planet / instrument.signal_file(v)) for v in (0, 1))
        assert not first.equals(second) and (planet / instrument.calibration_dir(1) / "dark.parquet").exists()


def test_absurd_campaigns_are_refused(tmp_path):
    with pytest.raises(ValueError, match="needs planets"):
        simulate_campaign(tmp_path, SimulateConfig(train_planets=0, test_planets=0), 1, 1, False)
    with pytest.raises(ValueError, match="pairs asked for"):
        simulate_campaign(tmp_path, SimulateConfig(train_planets=1, test_planets=0, airs_pairs=9999), 1, 1, False)
