"""Command line: `spectramind STAGE [overrides]`, or `python -m kitlib STAGE [overrides]` where it is not installed."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from .base.schema import STAGES
from .base.version import __version__

HELP = ("-h", "--help", "help")
MULTIRUN = ("--multirun", "-m")
OTHERS = {
    "score": "official score of a submission, as JSON",
    "verify": "a run's checksums anew: what changed since, is missing or was added",
}
USAGE = """usage: spectramind STAGE [group=option ...] [key=value ...]
       spectramind diagnose [calibration|report|inject] [group=option ...] [key=value ...]
       spectramind score --solution S.csv --submission P.csv --train T.csv
       spectramind verify RUN [--inside]

stages, in their order:
{stages}

of what they leave:
{others}

`diagnose calibration` and `diagnose report` make one part alone; `diagnose inject` puts signals of known size into the
planets' data and reports what comes out. `--multirun` runs all combinations of values that commas part.

examples:
  spectramind simulate data=sim_tiny simulate.out=artifacts/sky run.seed=1
  spectramind predict data.root=artifacts/sky/data run.out=artifacts/first
  spectramind train --multirun +search=encoder_depth,bins data.root=DIR run.out=OUT

`spectramind STAGE --help` shows the keys that the stage reads, each with its values and what it is for.
"""
INSTALL = (
    "In a checkout `make dev` puts everything into .venv; then `. .venv/bin/activate`, or .venv/bin/spectramind. "
    "Without make: pip install '.[simulate,sweep,cluster]'."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one stage; returns the exit status: 0, or 2 after an error whose message is on stderr.

    `verify` returns 1 where it found a difference.

    Args:
        arguments: the words; by default those of this process, which is then made fit for any locale.
    """
    if arguments is None:
        _speak_utf8()
    stage, *rest = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        return _run(stage, rest)
    except ModuleNotFoundError as error:
        if (error.name or "kitlib").split(".")[0] == "kitlib":
            raise
        problem = f"this Python ({sys.executable}) has no package {error.name}. {INSTALL}"
    except (ValueError, OSError) as error:  # the kit's own errors: bad input, configuration, folders
        problem = str(error)
    except KeyboardInterrupt:
        _tell(f"spectramind {stage}: interrupted; run the same command again to resume", sys.stderr)
        return 130
    _tell(f"spectramind {stage}: {problem}", sys.stderr)
    return 2


def score_text(scores: dict[str, dict[str, float]]) -> str:
    """Scores as aligned text: one row each, total, FGS1 part, AIRS part."""
    rows = [f"{'':<12}{'total':>9}{'FGS1':>9}{'AIRS':>9}"]
    rows += [f"{name:<12}{s['total']:>9.4f}{s['fgs1']:>9.4f}{s['airs']:>9.4f}" for name, s in scores.items()]
    return "\n".join(rows)


def _speak_utf8() -> None:
    """Paths and tables hold any letter. Where the locale says ASCII, start again in Python's UTF-8 mode, children too.

    The mode is the default from Python 3.15 on (PEP 686).
    """
    if sys.getfilesystemencoding() != "utf-8":
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def _tell(text: str, stream: TextIO | None = None) -> None:
    """Print a line. That its reader has gone (`| head`) is no error of the work that was done."""
    stream = sys.stdout if stream is None else stream
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:  # what follows, and the interpreter's flush at its end, go nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _run(stage: str, words: list[str]) -> int:
    if stage in HELP:
        told = {"stages": STAGES, "others": OTHERS}
        lines = {name: "\n".join(f"  {k:<10} {v}" for k, v in one.items()) for name, one in told.items()}
        _tell(USAGE.format(**lines).rstrip())
        return 0
    if stage in ("-V", "--version"):
        _tell(__version__)
        return 0
    from .base.config import nearest  # what needs other packages is imported where it is used

    if stage not in (known := [*STAGES, *OTHERS]):
        raise ValueError(f"unknown stage {stage!r}{nearest(stage, known)} (there are {', '.join(known)})")
    if stage == "score":
        return _score(words)
    if stage == "verify":
        return _verify(words)
    if any(word in HELP for word in words):
        return _describe(stage, [word for word in words if word not in (*HELP, *MULTIRUN)])
    if any(word in MULTIRUN for word in words):
        return _sweep(stage, [word for word in words if word not in MULTIRUN])
    return _stage(stage, words)


def _stage(stage: str, words: list[str]) -> int:
    from .base.config import compose

    part, overrides = _diagnosis_of(stage, words)
    config = compose(stage, overrides)
    from . import pipeline  # after the configuration: its errors need no torch

    if stage == "diagnose":
        result = pipeline.DIAGNOSES[part](config) if part else pipeline.diagnose(config)
        (_show_injection if part == "inject" else _show_diagnosis)(result, Path(config.run.out))
        return 0
    result = getattr(pipeline, stage)(config)
    if stage == "calibrate":
        _tell(f"{len(result)} planets calibrated in {result[0].parent}")
    else:
        _tell(str(result))
    return 0


def _sweep(stage: str, overrides: list[str]) -> int:
    from .pipeline import SCORED
    from .run.sweep import as_markdown, sweep

    out, results = sweep(stage, overrides, SCORED)
    _tell(as_markdown(results).rstrip())
    _tell(f"results     {out / 'results.md'}, results.csv")
    return 2 if any(one.problem for one in results) else 0


def _diagnosis_of(stage: str, words: list[str]) -> tuple[str, list[str]]:
    """`calibration` of `diagnose calibration key=value`, and the overrides."""
    if stage != "diagnose" or not words or "=" in words[0] or words[0].startswith("-"):
        return "", words
    from .base.config import nearest
    from .pipeline import DIAGNOSES

    if words[0] not in DIAGNOSES:
        near = nearest(words[0], list(DIAGNOSES))
        raise ValueError(f"unknown part {words[0]!r}{near} (there are {', '.join(DIAGNOSES)}; nothing for all of it)")
    return words[0], words[1:]


def _show_injection(result: dict[str, Any], out: Path) -> None:
    from .report.injection import text

    _tell(f"{text(result)}\n\ntable   {out / 'inject.json'}\nfigure  {out / 'inject.png'}")


def _show_diagnosis(result: dict[str, Any], _: Path) -> None:
    if "scores" in result:
        _tell(score_text(result["scores"]) if result["scores"] else "no scores: the truth is not known")
    if "calibration" in result:
        from .report import calibration_text

        _tell(f"\n{calibration_text(result['calibration'])}\n")
    for name in ("submission", "report"):
        if name in result:
            _tell(f"{name:<11} {result[name]}")


def _describe(stage: str, words: list[str]) -> int:
    from .base.config import compose
    from .base.helptext import stage_help
    from .base.paths import find_configs

    part, overrides = _diagnosis_of(stage, words)
    _tell(stage_help(stage, compose(stage, overrides), find_configs(), part if part == "inject" else ""))
    return 0


def _score(arguments: list[str]) -> int:
    import argparse

    from .submission.writer import score_files

    parser = argparse.ArgumentParser(prog="spectramind score", description="Official score as JSON.")
    parser.add_argument("--solution", type=Path, required=True, help="true spectra: planet_id, wl_1..wl_283")
    parser.add_argument("--submission", type=Path, required=True, help="planet_id, wl_1..wl_283, sigma_1..sigma_283")
    parser.add_argument("--train", type=Path, required=True, help="train.csv: gives the naive mean and sigma")
    given = parser.parse_args(arguments)
    for name in ("solution", "submission", "train"):
        if not getattr(given, name).is_file():
            raise ValueError(f"--{name} {getattr(given, name)}: no such file")
    score = score_files(given.solution, given.submission, given.train)
    _tell(json.dumps({"total": score.total, "fgs1": score.fgs1, "airs": score.airs}, indent=1))
    return 0


def _verify(arguments: list[str]) -> int:
    import argparse

    from .run.verify import verify

    parser = argparse.ArgumentParser(prog="spectramind verify", description="Compare a run with its manifests.")
    parser.add_argument("run", type=Path, help="the folder of the run (run.out)")
    parser.add_argument("--inside", action="store_true", help="leave out what lies outside of it, as the dataset does")
    given = parser.parse_args(arguments)
    found = verify(given.run, given.inside)
    for difference in found.differences:
        _tell(str(difference))
    _tell(
        f"{found.run}: {found.files} files of {', '.join(found.stages)}: {len(found.differences) or 'no'} differences"
    )
    return 0 if found.ok else 1


if __name__ == "__main__":
    sys.exit(main())
