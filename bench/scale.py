"""Light curves to `submission.csv` at several numbers of planets: seconds of each step, and whether they grow linearly.

    python bench/scale.py [--planets 100 300 1000] [--workers N] [--out FILE.json]

The planets are simulated at light-curve level with the noise of full-size frames, as in `score.py`; a tenth have two
visits. Steps: reading the light curves' files, physical fit (in N processes), fusion model, sigma, writing
(posterior and submission). Making the planets is not timed.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from joblib import cpu_count

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from population import Population, draw, first  # noqa: E402

from kitlib.base.schema import ModelConfig, PhysfitConfig  # noqa: E402
from kitlib.detector.lightcurves import read_lightcurves, write_lightcurves  # noqa: E402
from kitlib.run.fits import fit_planets  # noqa: E402
from kitlib.run.inputs import answered, run_calibrator, run_models  # noqa: E402
from kitlib.sigma.calibrator import apply  # noqa: E402
from kitlib.spectra.posterior import write_posterior  # noqa: E402
from kitlib.submission.writer import write_submission  # noqa: E402
from kitlib.transit.priors import shipped_priors  # noqa: E402

SEED = 20251124
REAL = 1_100  # planets of the competition's test set


def steps(population: Population, count: int, folder: Path, workers: int) -> dict[str, float]:
    """Seconds of each step for the first `count` planets, whose light curves lie in `folder`."""
    _, catalogue, _ = first(population, count)
    prior, models = shipped_priors(), run_models(ModelConfig(), folder)[0]
    calibrator, _ = run_calibrator("", folder, ModelConfig().kind)
    stamps = [("", time.perf_counter())]

    def done(step: str) -> None:
        stamps.append((step, time.perf_counter()))

    curves = [read_lightcurves(folder / f"{planet}.safetensors") for planet in catalogue.planet_id]
    done("reading")
    posterior, fitted = fit_planets(curves, catalogue, prior, PhysfitConfig(), workers=workers)
    done("physical fit")
    answer = answered(models, posterior, catalogue)
    done("fusion")
    prediction = apply(calibrator, answer)
    done("sigma")
    write_posterior(folder / "physics.safetensors", posterior, fitted)
    write_posterior(folder / "posterior.safetensors", answer, fitted)
    write_submission(folder / "submission.csv", prediction, catalogue.planet_id)
    done("writing")
    return {step: now - before for (_, before), (step, now) in zip(stamps, stamps[1:], strict=False)}


def table(found: dict[int, dict[str, float]], workers: int) -> str:
    """Block for EXPERIMENTS.md: milliseconds a planet of each step, the whole, and the growth with the planets' number.

    The exponent is the slope of ln(seconds) over ln(planets) between the first and the last line: 1 is linear.
    """
    names = list(next(iter(found.values())))
    lines = [f"| planets | {' | '.join(names)} | all, ms a planet | all, s |", "|---" * (len(names) + 3) + "|"]
    for count, times in found.items():
        whole = sum(times.values())
        each = " | ".join(f"{times[name] / count * 1e3:.2f}" for name in names)
        lines.append(f"| {count} | {each} | {whole / count * 1e3:.1f} | {whole:.1f} |")
    (fewest, least), (most, longest) = ((n, sum(found[n].values())) for n in (min(found), max(found)))
    if most > fewest:
        lines.append(f"\nExponent of the growth: {np.log(longest / least) / np.log(most / fewest):.2f}.")
    minutes = longest / most * REAL / 60
    lines.append(f"{REAL} planets at the last line's rate: {minutes:.1f} min in {workers} processes.")
    return "\n".join(lines)


def main() -> None:
    """Measure, print a block for EXPERIMENTS.md, and write the figures as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--planets", type=int, nargs="+", default=[100, 300, 1_000])
    parser.add_argument("--workers", type=int, default=cpu_count())
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    most = max(given.planets)
    population = draw(most, most, SEED, given.workers)
    found = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for curves in population.curves:
            write_lightcurves(folder / f"{curves.planet_id}.safetensors", curves, "")
        steps(population, 1, folder, given.workers)  # machine code and processes are warm
        for count in sorted(given.planets):
            found[count] = steps(population, count, folder, given.workers)
    print(table(found, given.workers))
    if given.out:
        given.out.write_text(json.dumps({"workers": given.workers, "seconds": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
