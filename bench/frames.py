"""What the kit reaches from frames: whole visits of each world through `predict`, with all that is shipped.

    python bench/frames.py [--planets 8] [--worlds NAME ...] [--airs-pairs 5625] [--fgs1-pairs 67500] [--out FILE.json]

Worlds of bench/extremes.py and all of them together, as the simulator writes them to disk in the competition's layout,
detectors of the worse kind as in the hidden set. A row: score of physics and v50, error and z of FGS1, level and shape,
worst planet, planets with an event of the gate; FILE.json tells too how many neighbours were found. Fewer pairs than a
visit has make a row cheaper and its noise larger.
"""

import argparse
import json
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from joblib import cpu_count

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from extremes import EXTREMES, all_together  # noqa: E402
from population import draw  # noqa: E402
from worlds import shipped_row, table  # noqa: E402

import kitlib  # noqa: E402
from kitlib.base.provenance import write_atomic  # noqa: E402
from kitlib.base.schema import SimulateConfig, WorldConfig  # noqa: E402
from kitlib.detector import read_spectra_csv  # noqa: E402
from kitlib.sigma.metric import naive_statistics  # noqa: E402
from kitlib.simulate.observatory import simulate_campaign  # noqa: E402
from kitlib.spectra.posterior import read_posterior  # noqa: E402

SEED = 7_703
SEED_NAIVE, NAIVE_SPECTRA = 404, 1_000  # mean and sd of spectra that the score is measured against
ALL = "all together"


def row_of(
    world: WorldConfig, pairs: tuple[int, int], planets: int, naive: tuple[float, float], workers: int, folder: Path
) -> dict[str, float]:
    """One world's row; `folder` holds its frames and its run for as long as it takes."""
    size = SimulateConfig(str(folder), 0, planets, *pairs, two_visit_fraction=0.0, world=world)
    simulate_campaign(folder, size, SEED, workers, progress=False)
    words = (f"run.workers={workers}", "run.progress=false")
    kitlib.predict(folder / "data", folder / "run", *words)
    truth = read_spectra_csv(folder / "solution.csv")
    row: dict[str, float] = {}
    for kind, name in (("physics", "physics"), ("v50", "posterior")):
        found, _ = read_posterior(folder / "run" / f"{name}.safetensors")
        rows = [truth.planet_id.tolist().index(planet) for planet in found.planet_id.tolist()]
        judged = shipped_row(found, kind, truth.depth[rows], naive)
        row |= {"physics": judged["score"]} if kind == "physics" else judged
        row["events"] = float((found.diagnostics["gate"] > 0).sum())
        row["neighbours"] = float((np.nan_to_num(found.diagnostics.get("neighbour", np.zeros(1))) > 0).sum())
    return row


def main() -> None:
    """Print the table, row by row as they are done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--planets", type=int, default=8, help="a row")
    parser.add_argument("--worlds", nargs="*", help="names of rows; all by default")
    parser.add_argument("--airs-pairs", type=int, default=5_625)
    parser.add_argument("--fgs1-pairs", type=int, default=67_500)
    parser.add_argument("--workers", type=int, default=cpu_count())
    parser.add_argument("--out", type=Path, help="write all figures to this JSON file")
    given = parser.parse_args()
    known = EXTREMES | {ALL: replace(all_together(), neighbours=1.0)}
    naive = naive_statistics(draw(NAIVE_SPECTRA, 0, SEED_NAIVE, given.workers).truth.depth)
    rows: dict[str, dict[str, float]] = {}
    for name in given.worlds or known:
        folder = Path(tempfile.mkdtemp(prefix="frames-"))
        try:
            pairs = given.airs_pairs, given.fgs1_pairs
            rows[name] = row_of(known[name], pairs, given.planets, naive, given.workers, folder)
        finally:
            shutil.rmtree(folder)
        print(table(rows).splitlines()[-1] if len(rows) > 1 else table(rows), flush=True)
        if given.out:
            write_atomic(given.out, json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
