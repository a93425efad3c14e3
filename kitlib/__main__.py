"""Command line: `python -m kitlib STAGE [overrides]`, or `spectramind STAGE [overrides]` once installed."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .base.config import compose, groups, keys
from .base.paths import find_configs
from .base.version import __version__

MULTIRUN = ("--multirun", "-m")
USAGE = """usage: python -m kitlib STAGE [key=value ...]
       python -m kitlib diagnose [calibration|report|inject] [key=value ...]
       python -m kitlib score --solution S.csv --submission P.csv --train T.csv
       python -m kitlib verify RUN [--inside]

stages:
  simulate   make a small campaign in the competition's layout (simulate.out)
  calibrate  frames -> light curves
  pretrain   fusion model from simulated planets alone; how the shipped one is made
  train      priors, fine-tuned fusion model and sigma calibration from the training planets
  predict    frames -> submission.csv; needs no training step
  diagnose   scores and reliability of sigma where the truth is known, and the HTML report;
             `calibration` and `report` make one of them alone; `inject` puts signals of known size into the
             planets' data and reports what comes out
  submit     validated submission -> bundle with configuration and checksums
  score      official score of a submission, as JSON
  verify     computes a run's checksums again: names what changed since, is missing or was added

overrides: group=option or key=value, for example
  python -m kitlib predict +env=local +data=kaggle data.root=DIR run.out=OUT
  python -m kitlib train --multirun +search=encoder_depth,bins run.out=OUT tries all combinations
  python -m kitlib STAGE --help lists groups, keys and their values
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one stage; returns the exit status: 0, or 2 after an error whose message is on stderr.

    `verify` returns 1 where it found a difference.
    """
    stage, *rest = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if stage in ("-h", "--help", "help"):
        print(USAGE, end="")
        return 0
    if stage in ("-V", "--version"):
        print(__version__)
        return 0
    try:
        if stage == "score":
            return _score(rest)
        if stage == "verify":
            return _verify(rest)
        if any(word in ("-h", "--help") for word in rest):
            return _describe(stage)
        if any(word in MULTIRUN for word in rest):
            return _sweep(stage, [word for word in rest if word not in MULTIRUN])
        return _run(stage, rest)
    except (ValueError, OSError) as error:  # the kit's own errors: bad input, configuration, folders
        print(f"spectramind {stage}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"spectramind {stage}: interrupted; run the same command again to resume", file=sys.stderr)
        return 130


def score_text(scores: dict[str, dict[str, float]]) -> str:
    """Scores as aligned text: one row each, total, FGS1 part, AIRS part."""
    rows = [f"{'':<12}{'total':>9}{'FGS1':>9}{'AIRS':>9}"]
    rows += [f"{name:<12}{s['total']:>9.4f}{s['fgs1']:>9.4f}{s['airs']:>9.4f}" for name, s in scores.items()]
    return "\n".join(rows)


def _run(stage: str, words: list[str]) -> int:
    part, overrides = _diagnosis_of(stage, words)
    config = compose(stage, overrides)
    from . import pipeline  # after the configuration: its errors need no torch

    if stage == "diagnose":
        result = pipeline.DIAGNOSES[part](config) if part else pipeline.diagnose(config)
        (_show_injection if part == "inject" else _show_diagnosis)(result, Path(config.run.out))
        return 0
    result = getattr(pipeline, stage)(config)
    if stage == "calibrate":
        print(f"{len(result)} planets calibrated in {result[0].parent}")
    else:
        print(result)
    return 0


def _sweep(stage: str, overrides: list[str]) -> int:
    from .pipeline import SCORED
    from .run.sweep import as_markdown, sweep

    out, results = sweep(stage, overrides, SCORED)
    print(as_markdown(results), end="")
    print(f"results     {out / 'results.md'}, results.csv")
    return 2 if any(one.problem for one in results) else 0


def _diagnosis_of(stage: str, words: list[str]) -> tuple[str, list[str]]:
    """`calibration` of `diagnose calibration key=value`, and the overrides."""
    if stage != "diagnose" or not words or "=" in words[0] or words[0].startswith("-"):
        return "", words
    from .pipeline import DIAGNOSES

    if words[0] not in DIAGNOSES:
        raise ValueError(f"diagnose {words[0]}: there is {', '.join(DIAGNOSES)}, or nothing for all of it")
    return words[0], words[1:]


def _show_injection(result: dict[str, Any], out: Path) -> None:
    from .report.injection import text

    print(f"{text(result)}\n\ntable   {out / 'inject.json'}\nfigure  {out / 'inject.png'}")


def _show_diagnosis(result: dict[str, Any], _: Path) -> None:
    if "scores" in result:
        print(score_text(result["scores"]) if result["scores"] else "no scores: the truth is not known")
    if "calibration" in result:
        from .report import calibration_text

        print(f"\n{calibration_text(result['calibration'])}\n")
    for name in ("submission", "report"):
        if name in result:
            print(f"{name:<11} {result[name]}")


def _describe(stage: str) -> int:
    config = compose(stage)
    print(f"python -m kitlib {stage} [overrides]\n\ngroups:")
    for group, options in groups(find_configs()).items():
        print(f"  {group}={{{','.join(options)}}}")
    print("keys and their values here:")
    for key in keys():
        value = config
        for name in key.split("."):
            value = getattr(value, name)
        if "." in key:
            print(f"  {key}={value}")
    return 0


def _score(arguments: list[str]) -> int:
    import argparse

    from .submission.writer import score_files

    parser = argparse.ArgumentParser(prog="python -m kitlib score", description="Official score as JSON.")
    parser.add_argument("--solution", type=Path, required=True, help="true spectra: planet_id, wl_1..wl_283")
    parser.add_argument("--submission", type=Path, required=True, help="planet_id, wl_1..wl_283, sigma_1..sigma_283")
    parser.add_argument("--train", type=Path, required=True, help="train.csv: gives the naive mean and sigma")
    given = parser.parse_args(arguments)
    for name in ("solution", "submission", "train"):
        if not getattr(given, name).is_file():
            raise ValueError(f"--{name} {getattr(given, name)}: no such file")
    score = score_files(given.solution, given.submission, given.train)
    print(json.dumps({"total": score.total, "fgs1": score.fgs1, "airs": score.airs}, indent=1))
    return 0


def _verify(arguments: list[str]) -> int:
    import argparse

    from .run.verify import verify

    parser = argparse.ArgumentParser(prog="python -m kitlib verify", description="Compare a run with its manifests.")
    parser.add_argument("run", type=Path, help="the folder of the run (run.out)")
    parser.add_argument("--inside", action="store_true", help="leave out what lies outside of it, as the dataset does")
    given = parser.parse_args(arguments)
    found = verify(given.run, given.inside)
    for difference in found.differences:
        print(difference)
    print(
        f"{found.run}: {found.files} files of {', '.join(found.stages)}: {len(found.differences) or 'no'} differences"
    )
    return 0 if found.ok else 1


if __name__ == "__main__":
    sys.exit(main())
