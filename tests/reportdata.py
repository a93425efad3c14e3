"""Products of a made-up run for the tests of the report: Gaussian errors with exactly the covariance claimed."""

import base64
from dataclasses import replace

import numpy as np

from kitlib.base.instruments import AIRS, FGS1, N_BINS
from kitlib.base.products import LightCurve, LightCurveFit, MeanFrame, PlanetLightCurves, Posterior, Prediction
from kitlib.base.schema import LossConfig
from kitlib.report import ReportData
from kitlib.rules.constraints import from_config
from kitlib.sigma.metric import gll_score

FGS1_SIGMA, LEVEL_SIGMA, SHAPE_SIGMA = 30e-6, 15e-6, 25e-6
NAIVE = (0.0146, 0.0106)


def make_panel(planet: int, instrument: str, visit: int, depth: float, samples: int, rng) -> LightCurveFit:
    """A smooth transit of the given depth with white noise of known size."""
    time = (np.arange(samples) + 0.5) * 7.5 / samples
    inside = np.clip((1.6 - np.abs(time - 3.7)) / 0.25, 0, 1)
    limb = 1 - 0.15 * (np.clip(np.abs(time - 3.7) / 1.6, 0, 1)) ** 2
    drift = 1 + 3e-4 * (time / 3.75 - 1) - 2e-4 * (time / 3.75 - 1) ** 2
    model = drift * (1 - depth * inside * limb)
    sigma = np.full(samples, 150e-6 if instrument == "FGS1" else 70e-6)
    flux = model + sigma * rng.standard_normal(samples)
    return LightCurveFit(planet, visit, instrument, time, flux, model, sigma, drift)


def make_extracted(planet: int, visits: int, depth: float, samples: int, rng) -> PlanetLightCurves:
    """Light curves with a mean frame each: a star of known height, weights of both signs, rows that nobody reads."""
    time = (np.arange(samples) + 0.5) * 7.5 / samples
    inside = 1 - depth * np.clip((1.6 - np.abs(time - 3.7)) / 0.25, 0, 1)[:, None]
    found = []
    for _ in range(visits):
        visit = {}
        for instrument, columns in ((FGS1, 32), (AIRS, 47)):
            flux = np.geomspace(1e5, 4e3, instrument.n_bins) * inside
            flux = flux + np.sqrt(flux / 12) * rng.standard_normal(flux.shape)
            row, column = np.mgrid[:32, :columns]
            image = 2e4 * np.exp(-(((row - 15.6) / 2) ** 2)) * np.exp(-(((column - columns / 2) / 30) ** 2)) + 1.5
            weights = np.where(np.abs(row - 15.6) < 6, 1.0 - 0.02 * (row - 15.6) ** 2, -0.8)
            image, weights = image * rng.lognormal(0, 0.1, image.shape), weights + 0.1 * rng.standard_normal(row.shape)
            image[5:10] = weights[5:10] = np.nan
            frame = MeanFrame(image.astype(np.float32), weights.astype(np.float16))
            series = (flux.astype(np.float32), flux.astype(np.float32), np.full(samples, 12, np.int32))
            visit[instrument.name] = LightCurve(instrument, time, *series, np.zeros((samples, 2)), {}, frame)
        found.append(visit)
    return PlanetLightCurves(planet, tuple(found))


def unpacked(payload: dict, packed: list) -> dict:
    """The figure that charts.js makes of what `Packer.add` returned; missing values are NaN."""

    def column(number: int) -> np.ndarray:
        found = payload["columns"][number]
        if isinstance(found, list):
            return np.array([np.nan if value is None else value for value in found], float)
        wide = "n" not in found
        codes = np.frombuffer(base64.b64decode(found["b"]), "<u2" if wide else "u1")
        values = np.where(codes == (65535 if wide else 255), np.nan, found["o"] + found["s"] * codes)
        return values if wide else values.reshape(-1, found["n"])

    def fill(part):
        if isinstance(part, dict):
            return column(packed[1][part["$"]]) if "$" in part else {key: fill(one) for key, one in part.items()}
        return [fill(one) for one in part] if isinstance(part, list) else part

    return fill(payload["skeletons"][packed[0]])


def trace(figure, name: str, which: int = -1):
    """Of the traces with a name, of plotly's figure or of a dictionary, the last one or another."""
    found = figure["data"] if isinstance(figure, dict) else figure.data
    return [one for one in found if (one.get("name") if isinstance(one, dict) else one.name) == name][which]


def _measured(mu: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(P, 2, 48) points around a spectrum, of the second planet none."""
    points = np.concatenate([mu[:, :1], mu[:, 1:].reshape(len(mu), -1, 6).mean(2)], axis=1)
    found = np.stack([points + 1e-4 * rng.standard_normal(points.shape), np.full(points.shape, 1e-4)], axis=1)
    found[1:2] = np.nan
    return found


def make_data(
    planets: int = 12, detailed: int = 3, samples: int = 187, truth: bool = True, **other_fields
) -> ReportData:
    """A run's worth of products whose errors are Gaussian with exactly the covariance claimed."""
    rng = np.random.default_rng(7)
    ids = np.sort(rng.choice(np.arange(10**6, 4 * 10**9, 997), planets, replace=False)).astype(np.int64)
    wavelengths = np.concatenate([[0.7], np.linspace(1.952, 3.895, 282)])
    depth = np.clip(rng.lognormal(-4.44, 0.65, planets), 0.0037, 0.08)[:, None]
    amplitude = rng.lognormal(np.log(8e-5), 0.7, (planets, 1))
    feature = np.exp(-(((wavelengths - 3.32) / 0.15) ** 2)) + 0.6 * np.exp(-(((wavelengths - 2.7) / 0.12) ** 2))
    true = depth + amplitude * (feature - feature.mean())
    cov = np.zeros((N_BINS, N_BINS))
    lag = np.abs(wavelengths[1:, None] - wavelengths[None, 1:])
    cov[1:, 1:] = LEVEL_SIGMA**2 + SHAPE_SIGMA**2 * np.exp(-0.5 * (lag / 0.05) ** 2) + (5e-6) ** 2 * np.eye(282)
    cov[0, 0] = FGS1_SIGMA**2
    mu = true + rng.standard_normal((planets, N_BINS)) @ np.linalg.cholesky(cov).T
    sigma = np.tile(np.sqrt(np.diag(cov)), (planets, 1))
    diagnostics = {
        "fallback": (np.arange(planets) == 1) * 2.0,
        "missing_contact": (np.arange(planets) == 2) * 1.0,
        "chi2_white": 1 + 0.02 * rng.standard_normal(planets),
    }
    other = np.random.default_rng(8)  # its own, so that the products above stay what they are
    diagnostics["visits"] = 1.0 + (np.arange(planets) % 10 == 0)
    diagnostics["electrons"] = other.lognormal(16.6, 0.3, planets)
    diagnostics["masked_fraction"] = other.uniform(0.005, 0.05, planets)
    diagnostics["duration_h"] = other.uniform(2, 4, planets)
    diagnostics["electrons"][1] = diagnostics["masked_fraction"][1] = np.nan  # not fitted
    panels = [
        make_panel(int(ids[i]), instrument, visit, float(depth[i, 0]), samples, rng)
        for i in range(detailed)
        for visit in range(1 + (i % 10 == 0))
        for instrument in ("AIRS-CH0", "FGS1")
    ]
    events = (
        {"time": 1.0, "stage": "physfit", "event": "fallback", "planet_id": int(ids[1]), "reason": "no transit found"},
        {
            "time": 2.0,
            "stage": "calibrate",
            "event": "visit_skipped",
            "planet_id": float(ids[2]),
            "reason": "truncated file",
        },
        {"time": 3.0, "stage": "predict", "event": "early_submission"},
    )
    manifest = {
        "stage": "predict",
        "seed": 20251123,
        "config_sha256": "ab12cd34" * 8,
        "versions": {"kitlib": "0.1", "numpy": "2.1.0"},
        "wall_s": 12.5,
        "peak_mib": 800,
    }
    scores = ()
    if truth:
        score = gll_score(mu, sigma, true, *NAIVE)
        scores = (("naive", 0.0, 0.0, 0.0), ("physics", score.total, score.fgs1, score.airs))
    data = ReportData(
        title="Test campaign",
        prediction=Prediction(ids, mu, sigma),
        wavelengths_um=wavelengths,
        scores=scores,
        truth=true if truth else None,
        naive=NAIVE,
        posterior=Posterior(ids, mu, np.tile(cov, (planets, 1, 1)).astype(np.float32), diagnostics),
        panels=tuple(panels),
        extracted=tuple(
            make_extracted(int(ids[i]), 1 + (i % 10 == 0), float(depth[i, 0]), samples, np.random.default_rng(i))
            for i in range(detailed)
        ),
        events=events,
        manifests=(manifest,),
        rules=from_config(LossConfig(rules={"deep_enough": "mu >= 5000 * ppm"})),
        heavy=True,
        measured=_measured(mu, other),
        prior_shape=np.stack([np.broadcast_to(feature - feature.mean(), mu.shape) * 1e-4, np.full(mu.shape, 2e-4)], 1),
        residuals=np.where(np.arange(60)[:, None] > 1, other.standard_normal((planets, 1, 60, 47)), np.nan),
        phases=np.linspace(-1, 1, 60),
        latents=np.concatenate([np.log(depth), np.log(amplitude), other.standard_normal((planets, 6))], axis=1),
    )
    return replace(data, **other_fields)
