"""The shipped calibrators: sigma of the shipped priors and network, fitted on planets of many skies.

    python bench/calibrators.py [--fits FOLDER] [--ship]

Planets that neither prior nor network has learnt from, in three parts: the own world (seed 1111), atmospheres of any
chemistry with other detectors and drifts (seed 808), and worlds drawn at random (`data=worlds` without neighbours, who
show in frames alone; seed 1112). How many worlds is a compromise: as many again would cost the own world 0.004 and
bring worlds 0.005. Any chemistry is as common as the own one: a shape's sigma that is a tenth too large costs the own
world nothing, one that is too small costs much elsewhere.

On the same planets it is found how far the network is to be trusted: the smallest share of its corrections whose score,
once sigma is calibrated, is within one standard error of the best. --ship writes calibrator_{physics,v50}.json and the
network with that share into kitlib/data.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from joblib import cpu_count

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from rows import Row, calibration_rows, kept  # noqa: E402
from worlds import per_planet  # noqa: E402

from kitlib.base.products import Array, Posterior, Spectra  # noqa: E402
from kitlib.base.provenance import write_atomic  # noqa: E402
from kitlib.fusion import features_of, load_model, predict  # noqa: E402
from kitlib.fusion.model import save_model, trusted  # noqa: E402
from kitlib.run.inputs import SHIPPED_MODEL, calibrator_path  # noqa: E402
from kitlib.sigma import Calibrator, apply, fit_calibrator  # noqa: E402
from kitlib.spectra.posterior import join  # noqa: E402

NAIVE = (0.0146, 0.0106)  # mean and sigma of the real training targets, as competitors found them
SHARES = (0.1, 0.25, 0.5, 1.0)  # of the network's corrections


def calibrated_on(known: list[Row], answers: list[Posterior]) -> Calibrator:
    """The calibrator of answers for planets of several parts."""
    depth = np.concatenate([one.truth.depth for one in known])
    posterior, _ = join([(one, []) for one in answers])
    posterior = replace(posterior, planet_id=np.arange(len(depth)))  # ids of different parts may be the same
    calibrator = fit_calibrator(posterior, Spectra(posterior.planet_id, depth), NAIVE)
    return replace(calibrator, fitted_on=())  # none of a user's planets


def scores_of(calibrator: Calibrator, known: list[Row], answers: list[Posterior] | None = None) -> Array:
    """Score of each planet of all parts, (P,), for `answers` or the physical fits."""
    pairs = zip(answers or [one.found for one in known], known, strict=True)
    return np.concatenate([per_planet(apply(calibrator, answer), one.truth.depth, NAIVE) for answer, one in pairs])


def main() -> None:
    """Fit both calibrators and the network's share, print them, and ship them where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=cpu_count())
    parser.add_argument("--fits", type=Path, help="keep the fits there, for another network")
    parser.add_argument("--ship", action="store_true", help="write the calibrators into kitlib/data")
    given = parser.parse_args()
    known = kept(given.fits, calibration_rows)(given.workers)
    physics = calibrated_on(known, [one.found for one in known])
    print(f"physics: {physics}\nnone of the network's corrections: {scores_of(physics, known).mean():.4f}", flush=True)
    model, about = load_model(SHIPPED_MODEL)
    whole = trusted(model, 1 / about.get("trust", 1.0))
    features = [features_of(one.found, one.catalogue, one.found.inputs) for one in known]
    trials = []
    for share in SHARES:
        network = trusted(whole, share)
        answers = [predict(network, one.found, f) for one, f in zip(known, features, strict=True)]
        calibrator = calibrated_on(known, answers)
        trials.append((scores_of(calibrator, known, answers), share, network, calibrator))
        print(f"{share:.0%} of the network's corrections: {trials[-1][0].mean():.4f}", flush=True)
    best = max(trials, key=lambda one: float(one[0].mean()))[0]
    errors = [(best - scores).std() / np.sqrt(len(best)) for scores, *_ in trials]
    # the smallest share that chance does not tell from the best one
    _, share, network, calibrator = next(
        one for one, error in zip(trials, errors, strict=True) if (best - one[0]).mean() <= error
    )
    print(f"v50, {share:.0%} of the corrections: {calibrator}")
    if given.ship:
        save_model(SHIPPED_MODEL, network, about | {"trust": share})
        for kind, one in (("physics", physics), ("v50", calibrator)):
            write_atomic(calibrator_path(SHIPPED_MODEL.parent, kind), one.to_json())


if __name__ == "__main__":
    main()
