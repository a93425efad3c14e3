"""The demonstration behind `make run`: simulate a campaign, execute four notebooks, answer planets under other skies.

    python notebooks/run.py [overrides]        e.g. data=sim_tiny run.out=artifacts/run

Without words of its own it takes those of the variable OVERRIDES, split as a shell would; make passes them that way,
because a rule such as mu>0 in a recipe would send its output to a file named 0.
"""

import json
import os
import shlex
import sys
import time
from pathlib import Path

import papermill
from build import sources
from offline import offline_html
from papermill.exceptions import PapermillExecutionError

from kitlib import pipeline
from kitlib.__main__ import score_text
from kitlib.base.config import compose
from kitlib.base.schema import Config
from kitlib.detector.tables import read_spectra_csv
from kitlib.run.diagnosis import score_table
from kitlib.run.inputs import MIN_TRAIN, shipped_calibrator
from kitlib.sigma import apply, naive_statistics
from kitlib.spectra.posterior import read_posterior
from kitlib.submission import read_submission

# What a kernel tells of itself is no news: that it speaks to this process unencrypted, or that its shutdown interrupted
# the end of a cell. A cell's errors come through the notebook.
QUIET_KERNEL = ["--IPKernelApp.log_level=50"]


def words_given(arguments: list[str]) -> list[str]:
    """The overrides: arguments, else those of OVERRIDES, else the small campaign; bars on a terminal alone."""
    words = arguments or shlex.split(os.environ.get("OVERRIDES", "")) or ["data=sim_tiny"]
    bars = sys.stderr.isatty() or any(word.lstrip("+").startswith("run.progress=") for word in words)
    return words if bars else [*words, "run.progress=false"]


def check_sizes(config: Config) -> None:
    """Raise ValueError for a campaign that is too small for the notebooks, before anything is simulated."""
    for name, least in (("train_planets", MIN_TRAIN), ("test_planets", 1)):
        if (found := getattr(config.simulate, name)) < least:
            raise ValueError(f"simulate.{name}={found}: the notebooks need {least} or more")


def under_other_skies(config: Config, overrides: list[str]) -> dict[str, dict[str, float]]:
    """Scores of as many test planets whose skies are drawn at random (`data=worlds`), answered by the kit as shipped.

    Naive mean and scatter are those of the campaign, so that both tables have one scale.
    """
    sizes = config.simulate
    campaign, out = (Path(folder).expanduser().resolve() for folder in (sizes.out, config.run.out))
    # beside the campaign: another one, of another seed or size, has other skies
    folder, answers = campaign / "skies", out / "skies"
    words = ["data=worlds", *(word for word in overrides if word.lstrip("+").startswith(("run.", "physfit.", "light")))]
    words += ["simulate.train_planets=0", f"simulate.test_planets={sizes.test_planets}"]
    words += [f"simulate.airs_pairs={sizes.airs_pairs}", f"simulate.fgs1_pairs={sizes.fgs1_pairs}"]
    words += [f"simulate.out={folder}", f"run.out={answers}"]
    pipeline.simulate(compose("simulate", words))
    answer = read_submission(pipeline.predict(compose("predict", words)))
    physics = apply(shipped_calibrator("physics"), read_posterior(answers / "physics.safetensors")[0])
    naive = naive_statistics(read_spectra_csv(campaign / "data" / "train.csv").depth)
    truth = read_spectra_csv(folder / "solution.csv").depth
    return score_table({"physics": physics, "v50": answer}, truth, naive)


def main(overrides: list[str]) -> None:
    """Run everything with the same overrides; executed notebooks go to OUT/notebooks, .ipynb and offline .html."""
    start = time.monotonic()
    config = compose("simulate", overrides)
    check_sizes(config)
    out = Path(config.run.out).expanduser().resolve()
    steps = 2 + len(sources())
    print(f"step 1 of {steps}: simulating {config.simulate.train_planets} + {config.simulate.test_planets} planets")
    print("The first planet of a step takes longer than the others: inner loops are compiled.", flush=True)
    pipeline.simulate(config)
    (out / "notebooks").mkdir(parents=True, exist_ok=True)
    for number, source in enumerate(sources(), 2):
        passed = time.monotonic() - start
        print(f"step {number} of {steps}: notebook {source.stem} (after {passed:.0f} s)", flush=True)
        executed = out / "notebooks" / f"{source.stem}.ipynb"
        try:
            papermill.execute_notebook(
                source.with_suffix(".ipynb"),
                executed,
                parameters={"overrides": overrides},
                kernel_name="python3",
                progress_bar=False,  # the stages have their own
                stderr_file=sys.stderr,  # the stages' bars and warnings
                extra_arguments=QUIET_KERNEL,
                iopub_timeout=300,  # seconds that a cell's output may be late on a machine that does much else
            )
        except PapermillExecutionError as error:
            raise ValueError(f"{source.stem}: {error.ename}: {error.evalue}\nup to there: {executed}") from error
        offline_html(executed)
    print(f"step {steps} of {steps}: planets under other skies (after {time.monotonic() - start:.0f} s)", flush=True)
    elsewhere = under_other_skies(config, overrides)
    scores = json.loads((out / "scores.json").read_text())
    print(f"\n{config.simulate.test_planets} held-out planets, {time.monotonic() - start:.0f} s")
    print(score_text(scores))
    print(f"{config.simulate.test_planets} planets under other skies, that nothing was learnt from (data=worlds)")
    print(score_text(elsewhere))
    print(f"submission  {out / 'submission.csv'}")
    print("\nopen next, in a browser:")
    print(f"  {out / 'report.html'}   each planet, and whether its error bars are right")
    for source in sources():
        print(f"  {out / 'notebooks' / source.stem}.html")
    print("then change one thing: README.md, 'Change one thing'")


if __name__ == "__main__":
    try:
        main(words_given(sys.argv[1:]))
    except (ValueError, OSError) as problem:  # the kit's own errors, as on its command line
        sys.exit(f"make run: {problem}")
