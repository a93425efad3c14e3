"""A campaign of the simulated observatory, written in the competition's own file layout.

OUT/data/{train,test}/{planet_id}/{instrument}_signal_{visit}.parquet, {instrument}_calibration_{visit}/*.parquet
OUT/data/{train,test}_star_info.csv, train.csv, axis_info.parquet, adc_info.csv, wavelengths.csv, sample_submission.csv
OUT/solution.csv    true spectra of the test planets, outside the data root
OUT/campaign.json   what was asked for; a folder holds one campaign
"""

import dataclasses
import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from ..base.execution import in_processes
from ..base.instruments import ADC_GAIN, ADC_OFFSET_E, AIRS, FGS1, INSTRUMENTS, N_BINS, Instrument, submission_columns
from ..base.products import Array, CalibrationMaps, Catalogue
from ..base.provenance import write_atomic
from ..base.schema import SimulateConfig
from .detector import draw_detector
from .exposure import draw_foreground, simulate_frames
from .optics import column_wavelengths_um, wavelengths_um
from .spectra import draw_spectra
from .systems import Systems, draw_systems, observed_catalogue
from .visits import Visit, draw_visits, kept_pairs
from .worlds import WorldDraw, catalogue_factors, draw_world, with_grazing


@dataclasses.dataclass(frozen=True)
class PlanetPlan:
    """Everything that a worker needs to write one planet."""

    folder: Path
    system: Systems  # of one planet
    depth: Array  # (283,)
    visits: tuple[Visit, ...]  # without what the world adds
    world: WorldDraw
    pairs: dict[str, int]
    degraded: bool
    seed: np.random.SeedSequence


def simulate_campaign(out: Path, config: SimulateConfig, seed: int, workers: int, progress: bool) -> None:
    """Simulate a campaign; planets that are there already are kept, so that a stopped run goes on where it was.

    Args:
        out: folder of the campaign; `out/data` becomes the data root.
        config: size of the campaign; `config.out` is not used.
        seed: the same seed gives the same bytes, whatever the number of workers.
        workers: processes; 0: one a core.
        progress: show a progress bar.

    Raises:
        ValueError: absurd sizes, or a folder that holds another campaign.
        OSError: `out` cannot be written.
    """
    out = Path(out)
    if config.train_planets < 0 or config.test_planets < 0 or config.train_planets + config.test_planets == 0:
        raise ValueError("a campaign needs planets: raise simulate.train_planets or simulate.test_planets above 0")
    _claim(out, config, seed)
    plans = plan_campaign(out / "data", config, seed)
    given = [(plan,) for plan in plans if not plan.folder.exists()]
    for _ in in_processes(_write_planet, given, workers, "simulate", progress=progress, ordered=False):
        pass


def _claim(out: Path, config: SimulateConfig, seed: int) -> None:
    asked = {**dataclasses.asdict(config), "seed": seed}
    asked.pop("out")
    path = out / "campaign.json"
    if path.exists():
        if json.loads(path.read_text()) != asked:
            raise ValueError(f"{path} describes another campaign: delete {out} or choose another simulate.out")
    else:
        write_atomic(path, json.dumps(asked, indent=1) + "\n")


def plan_campaign(data: Path, config: SimulateConfig, seed: int) -> list[PlanetPlan]:
    """Draw the campaign, write all its tables, and return what is left to do planet by planet."""
    n = config.train_planets + config.test_planets
    root = np.random.SeedSequence(seed)
    drawing, *planets = root.spawn(1 + n)
    worlds = [draw_world(config.world, np.random.default_rng(own)) for own in root.spawn(n)]
    rng = np.random.default_rng(drawing)
    systems = draw_systems(n, rng)
    systems = systems.take(rng.permutation(n))  # ids say nothing of the split
    train = np.arange(n) < config.train_planets
    order = np.concatenate([np.flatnonzero(part)[np.argsort(systems.planet_id[part])] for part in (train, ~train)])
    systems = with_grazing(systems.take(order), worlds)
    depth = draw_spectra(systems, rng)
    visits = draw_visits(systems, rng, config.two_visit_fraction)
    catalogue = observed_catalogue(systems, rng, catalogue_factors(worlds))
    pairs = {AIRS.name: config.airs_pairs, FGS1.name: config.fgs1_pairs}
    _write_tables(data, systems.planet_id, depth, catalogue, train, pairs)
    return [
        PlanetPlan(
            folder=data / ("train" if train[i] else "test") / str(systems.planet_id[i]),
            system=systems.take(np.array([i])),
            depth=depth[i],
            visits=visits[i],
            world=worlds[i],
            pairs=pairs,
            degraded=bool(config.degrade_test and not train[i]),
            seed=planets[i],
        )
        for i in range(n)
    ]


def _write_planet(plan: PlanetPlan) -> None:
    """Write one planet's folder, whole or not at all."""
    part = plan.folder.with_name(f".{plan.folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    own, *seeds = plan.seed.spawn(1 + len(plan.visits) * len(INSTRUMENTS))
    foreground = draw_foreground(np.random.default_rng(own))
    for number, drawn in enumerate(plan.visits):
        visit = plan.world.visit(drawn, number)
        for instrument in INSTRUMENTS:
            rng = np.random.default_rng(seeds.pop(0))
            detector = draw_detector(instrument, rng, plan.degraded)
            _write_calibration(part / instrument.calibration_dir(number), detector.files)
            pairs = plan.pairs[instrument.name]
            frames = simulate_frames(
                instrument, plan.system, plan.depth, visit, detector, pairs, rng, foreground, plan.world
            )
            _write_signal(part / instrument.signal_file(number), frames)
    os.replace(part, plan.folder)


def _write_signal(path: Path, frames: np.ndarray) -> None:
    """`frames`: (pixels, frames) uint16; the file has one row a frame and one column a pixel."""
    names = [f"column_{i}" for i in range(len(frames))]
    table = pa.Table.from_arrays([pa.array(pixel) for pixel in frames], names=names)
    pq.write_table(table, path, compression="zstd", compression_level=1, row_group_size=frames.shape[1])


def _write_calibration(folder: Path, maps: CalibrationMaps) -> None:
    folder.mkdir()
    tables = {
        "dark": maps.dark_e_per_s,
        "dead": maps.dead,
        "flat": maps.flat,
        "linear_corr": maps.linear_corr.reshape(-1, maps.instrument.cols),
        "read": maps.read_noise_e,
    }
    for name, table in tables.items():
        columns = {f"column_{i}": np.ascontiguousarray(table[:, i]) for i in range(table.shape[1])}
        pq.write_table(pa.table(columns), folder / f"{name}.parquet", compression="zstd", use_dictionary=False)


def _write_tables(
    data: Path, planet_id: np.ndarray, depth: Array, catalogue: Catalogue, train: np.ndarray, pairs: dict[str, int]
) -> None:
    names = [f"wl_{i}" for i in range(1, N_BINS + 1)]
    stars = pl.DataFrame(
        {
            "planet_id": catalogue.planet_id,
            "Rs": catalogue.stellar_radius_rsun,
            "Ms": catalogue.stellar_mass_msun,
            "Ts": catalogue.stellar_temperature_k,
            "Mp": catalogue.planet_mass_mjup,
            "e": np.zeros(len(catalogue)),
            "P": catalogue.period_days,
            "sma": catalogue.semi_major_axis_rs,
            "i": catalogue.inclination_deg,
        }
    )
    spectra = pl.DataFrame({"planet_id": planet_id}).hstack(pl.DataFrame(depth, schema=names, orient="row"))
    _write_csv(data / "train_star_info.csv", stars.filter(train))
    _write_csv(data / "test_star_info.csv", stars.filter(~train).with_columns(pl.col("planet_id").cast(pl.Float64)))
    _write_csv(data / "train.csv", spectra.filter(train))
    _write_csv(data.parent / "solution.csv", spectra.filter(~train))
    guess = pl.DataFrame({name: np.full(int((~train).sum()), 0.01) for name in submission_columns()[1:]})
    _write_csv(data / "sample_submission.csv", spectra.filter(~train).select("planet_id").hstack(guess))
    _write_csv(data / "wavelengths.csv", pl.DataFrame(wavelengths_um()[None], schema=names, orient="row"))
    adc = {f"{i.name}_adc_{what}": [value] for i in (FGS1, AIRS) for what, value in _ADC.items()}
    _write_csv(data / "adc_info.csv", pl.DataFrame(adc))
    buffer = io.BytesIO()
    pq.write_table(_axis_info(pairs), buffer, compression="zstd")
    write_atomic(data / "axis_info.parquet", buffer.getvalue())


_ADC = {"offset": ADC_OFFSET_E, "gain": ADC_GAIN}


def _axis_info(pairs: dict[str, int]) -> pa.Table:
    """Start of each sub-exposure (hours), AIRS wavelengths and exposures; short columns end in nulls."""
    exposures = np.tile([AIRS.first_read_s, AIRS.cds_s], pairs[AIRS.name])
    columns = {
        AIRS.time_column: _stamps_h(AIRS, pairs[AIRS.name]),
        f"{AIRS.name}-axis2-um": column_wavelengths_um(),
        f"{AIRS.name}-integration_time": exposures,
        FGS1.time_column: _stamps_h(FGS1, pairs[FGS1.name]),
    }
    rows = max(map(len, columns.values()))
    return pa.table(
        {name: pa.array([*values, *[None] * (rows - len(values))], pa.float64()) for name, values in columns.items()}
    )


def _stamps_h(instrument: Instrument, pairs: int) -> Array:
    """Two stamps a pair, 0.1 s apart, the first 0.1 s after the pair's slot begins, (2 x pairs,)."""
    slots = kept_pairs(instrument, pairs) * instrument.cadence_s
    return (slots[:, None] + np.array([0.1, 0.2])).ravel() / 3600


def _write_csv(path: Path, table: pl.DataFrame) -> None:
    write_atomic(path, table.write_csv())
