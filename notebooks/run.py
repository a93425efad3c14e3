"""The demonstration behind `make run`: simulate a campaign, execute the four notebooks, print scores and paths.

python notebooks/run.py [overrides]        e.g. data=sim_tiny run.out=artifacts/run
"""

import json
import sys
import time
from pathlib import Path

import papermill
from build import sources
from offline import offline_html

from kitlib import pipeline
from kitlib.__main__ import score_text
from kitlib.base.config import compose


def main(overrides: list[str]) -> None:
    """Run everything with the same overrides; executed notebooks go to OUT/notebooks, .ipynb and offline .html."""
    start = time.monotonic()
    config = compose("simulate", overrides)
    out = Path(config.run.out).expanduser().resolve()
    print(f"simulating {config.simulate.train_planets} + {config.simulate.test_planets} planets", flush=True)
    pipeline.simulate(config)
    (out / "notebooks").mkdir(parents=True, exist_ok=True)
    for source in sources():
        print(f"notebook {source.stem}", flush=True)
        papermill.execute_notebook(
            source.with_suffix(".ipynb"),
            out / "notebooks" / f"{source.stem}.ipynb",
            parameters={"overrides": overrides},
            kernel_name="python3",
            progress_bar=config.run.progress,
            stderr_file=sys.stderr if config.run.progress else None,  # the stages' own progress bars
        )
        offline_html(out / "notebooks" / f"{source.stem}.ipynb")
    scores = json.loads((out / "scores.json").read_text())
    print(f"\n{config.simulate.test_planets} held-out planets, {time.monotonic() - start:.0f} s")
    print(score_text(scores))
    print(f"submission  {out / 'submission.csv'}\nreport      {out / 'report.html'}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:] or ["data=sim_tiny"])
    except (ValueError, OSError) as problem:  # the kit's own errors, as on its command line
        sys.exit(f"make run: {problem}")
