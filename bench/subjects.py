"""The planets that `figures.py` draws, one with raw frames, others as light curves; each made when first asked."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from kitlib.base.instruments import AIRS, FGS1, Instrument
from kitlib.base.products import Array, CalibrationMaps, Catalogue, PlanetLightCurves, Posterior
from kitlib.base.provenance import EventLog
from kitlib.base.schema import LightCurveConfig, PhysfitConfig, SimulateConfig
from kitlib.detector import calibrate, extraction, frames, profile, tables
from kitlib.detector.axes import read_axis_info
from kitlib.detector.lightcurves import planet_lightcurves
from kitlib.fusion import features_of, load_model
from kitlib.fusion import predict as corrected_by
from kitlib.run.fits import fit_planets
from kitlib.run.inputs import SHIPPED_MODEL
from kitlib.simulate import draw_spectra, draw_systems, observed_catalogue, simulate_lightcurves
from kitlib.simulate.observatory import simulate_campaign
from kitlib.transit.fit import Details, PlanetFit, detailed_fit
from kitlib.transit.gaussnewton import Fit
from kitlib.transit.jointfit import joint_fit
from kitlib.transit.priors import Priors, shipped_priors
from kitlib.transit.whitefit import white_fit

SEED = 3  # of the planet with frames
SEED_OTHERS, OTHERS = 11, 24  # of the planets that the fusion model is shown
SEED_GATE = 7  # of the planet that is spoilt in several ways


@dataclass(frozen=True)
class Frames:
    """Raw frames of one instrument with what calibration and extraction make of them."""

    signal: frames.Signal
    maps: CalibrationMaps
    mean: Array  # (rows, cols) electrons of a pair
    plan: profile.Extraction

    def raw_adu(self, pair: int) -> tuple[Array, Array]:
        """First and last read of one pair, (rows, cols) each, in ADU."""
        instrument = self.signal.instrument
        reads = np.stack([column[2 * pair : 2 * pair + 2] for column in self.signal.columns], axis=1)
        return tuple(read.reshape(instrument.rows, instrument.cols).astype(float) for read in reads)


class Subject:
    """What the figures show. `work` holds the frames, which are made when they are not there."""

    config = PhysfitConfig()

    def __init__(self, work: Path):
        self.work = Path(work)

    @cached_property
    def priors(self) -> Priors:
        """The shipped ones."""
        return shipped_priors()

    @cached_property
    def root(self) -> Path:
        """Data root of a campaign of one planet at the real size; finished planets are kept."""
        campaign = SimulateConfig(train_planets=0, test_planets=1, two_visit_fraction=0.0, degrade_test=False)
        simulate_campaign(self.work / "sky", campaign, SEED, workers=1, progress=False)
        return self.work / "sky" / "data"

    @cached_property
    def row(self) -> Catalogue:
        """The planet's catalogue row."""
        return tables.read_catalogue(self.root / "test_star_info.csv", {})

    @cached_property
    def folder(self) -> Path:
        """The planet's folder of frames."""
        return self.root / "test" / str(int(self.row.planet_id[0]))

    @cached_property
    def truth(self) -> Array:
        """Its spectrum, (283,)."""
        return tables.read_spectra_csv(self.root.parent / "solution.csv").depth[0]

    @cached_property
    def wavelengths_um(self) -> Array:
        """(283,), FGS1 first."""
        return np.asarray(tables.read_wavelengths(self.root / "wavelengths.csv"))

    @cached_property
    def curves(self) -> PlanetLightCurves:
        """Its light curves, from the frames."""
        events = EventLog(self.work / "events.jsonl")
        axis, adc = read_axis_info(self.root), tables.read_adc_info(self.root).of(int(self.row.planet_id[0]))
        return planet_lightcurves(self.folder, axis, adc, LightCurveConfig(), events)

    def frames_of(self, instrument: Instrument) -> Frames:
        """Its frames, all pixels, and what the extraction plans with them."""
        config = LightCurveConfig()
        axis = read_axis_info(self.root).of(instrument)
        adc = tables.read_adc_info(self.root).of(int(self.row.planet_id[0]))[instrument.name]
        maps = calibrate.calibration_maps(
            frames.read_calibration(self.folder, instrument, 0), instrument, config.hot_sigma
        )
        signal = frames.read_signal(self.folder, instrument, 0, len(axis.time_h))
        parameters = calibrate.kernel_parameters(maps, axis, adc)
        found = calibrate.image_statistics(signal, parameters, extraction.BLOCKS[instrument.name])
        mean, noise, saturated = found
        good = profile.good_pixels(maps, mean, noise, saturated)
        return Frames(signal, maps, mean, profile.plan_extraction(maps, mean, good))

    @cached_property
    def airs(self) -> Frames:
        """Frames of AIRS."""
        return self.frames_of(AIRS)

    @cached_property
    def fgs1(self) -> Frames:
        """Frames of FGS1."""
        return self.frames_of(FGS1)

    @cached_property
    def fit(self) -> tuple[PlanetFit, Details]:
        """Its posterior, and what stands behind it."""
        answer, details = detailed_fit(self.curves, self.row, self.priors, self.config)
        if details is None:
            raise RuntimeError(f"the planet of the figures was not fitted: {answer.reason or answer.misfit}")
        return answer, details

    @cached_property
    def joint(self) -> Fit:
        """Its joint fit, for the algebra of what is degenerate."""
        white = white_fit(self.curves, self.row, self.priors, self.config)
        return joint_fit(self.curves, self.row, self.priors, self.config, *white)[0]

    @cached_property
    def others(self) -> tuple[Posterior, Posterior, Array]:
        """Posteriors of other planets by physics, by the shipped fusion model on top, and their spectra (P, 283)."""
        rng = np.random.default_rng(SEED_OTHERS)
        systems = draw_systems(OTHERS, rng)
        truth = draw_spectra(systems, rng)
        curves = simulate_lightcurves(systems, truth, rng, two_visit_fraction=0.0)
        rows = observed_catalogue(systems, rng)
        physics, _ = fit_planets(curves, rows, self.priors, self.config, progress=False)
        model, _ = load_model(SHIPPED_MODEL)
        return physics, corrected_by(model, physics, features_of(physics, rows, physics.inputs)), truth

    @cached_property
    def spoilt(self) -> dict[str, tuple[PlanetLightCurves, Catalogue]]:
        """One planet, sound and with what a gate has to find."""
        rng = np.random.default_rng(SEED_GATE)
        systems = draw_systems(1, rng)
        (planet,) = simulate_lightcurves(systems, draw_spectra(systems, rng), rng, two_visit_fraction=0.0)
        row = observed_catalogue(systems, rng)
        (visit,) = planet.visits
        airs, fgs1 = visit[AIRS.name], visit[FGS1.name]
        early = np.roll(fgs1.flux_e, -len(fgs1.time_h) // 6, axis=0)
        step = 1 + 0.004 * (airs.time_h > 5.6)[:, None]

        def with_curves(**changed: Array) -> PlanetLightCurves:
            names = {"fgs1": fgs1, "airs": airs}
            curves = {c.instrument.name: replace(c, flux_e=changed.get(n, c.flux_e)) for n, c in names.items()}
            return replace(planet, visits=(curves,))

        wrong = replace(row, period_days=row.period_days * 2.2)
        return {
            "as it is": (planet, row),
            "catalogue: period x 2.2": (planet, wrong),
            "FGS1 of another time": (with_curves(fgs1=early), row),
            "a step of 0.4 % in AIRS": (with_curves(airs=airs.flux_e * step), row),
        }
