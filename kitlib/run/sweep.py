"""Sweeps: one stage for every combination of values, by hydra's own sweeper and launcher, and a table of results.

    spectramind train --multirun +search=encoder_depth,bins data.root=DIR run.out=OUT

Values come from configs/search/*.yaml or from the command line (`train.folds=2,5`). Each combination is a run of its
own in OUT/0, OUT/1, ..., in parallel processes; OUT/results.{md,csv} hold overrides, score and wall time of each. The
same command again computes only what is missing or failed.
"""

import csv
import io
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..base.config import ConfigError, store_schema, sweep_overrides, typed
from ..base.paths import ensure_writable, find_configs, find_data_root
from ..base.provenance import EventLog, write_atomic
from ..base.schema import Config
from ..submission import score_files

RESULT = "sweep.json"


@dataclass(frozen=True)
class Result:
    """One combination."""

    overrides: list[str]  # all of its hydra overrides
    score: float | None  # None: it failed, see `problem`, or a `predict` whose truth is not known
    wall_s: float
    problem: str = ""  # why it failed


Parts = Sequence[Callable[[Config], Any]]


def sweep(
    stage: str, overrides: Sequence[str], scored: Mapping[str, Parts], folder: Path | None = None
) -> tuple[Path, list[Result]]:
    """Run `stage` for every combination; returns the sweep's folder and its results, in the order of hydra's jobs.

    Args:
        stage: one of `scored`.
        overrides: as for `config.compose`; values parted by commas, `range(1,4)` and the like are swept, `search` names
            files of configs/search, and hydra's own keys say how (`hydra/launcher=basic`, `hydra.launcher.n_jobs=2`).
        scored: stages that have a score, and the functions that each combination runs one after the other.
        folder: configuration files; by default `paths.find_configs()`.

    Raises:
        ConfigError: a stage without a score, an unknown key, or a folder that holds another sweep.
    """
    import hydra  # 0.3 s that other commands need not wait for

    if stage not in scored:
        raise ConfigError(f"{stage} has no score to compare: sweep one of {', '.join(scored)}")
    folder = find_configs() if folder is None else Path(folder).resolve()
    words, given_out = sweep_overrides(overrides, folder)
    out = ensure_writable(given_out or time.strftime("multirun/%Y-%m-%d/%H-%M-%S"))
    _claim(out, {"stage": stage, "overrides": [word for word in words if not word.startswith("hydra")]})
    own = [f"hydra.sweep.dir='{out}'", "hydra.sweep.subdir=${hydra.job.num}", "hydra.job.chdir=false"]
    quiet = ["hydra.output_subdir=null", "hydra/job_logging=disabled"]  # a run has its own configs/ and events.jsonl
    launcher = [] if any(word.startswith("hydra/launcher=") for word in words) else ["hydra/launcher=joblib"]
    store_schema()
    given, sys.argv = sys.argv, [stage, "--multirun", *launcher, *own, *quiet, *words]
    try:
        hydra.main(version_base=None, config_path=str(folder), config_name=stage)(_job_of(scored[stage]))()
    except SystemExit as error:
        raise ConfigError(f"hydra could not run this sweep (status {error.code}): the reason stands above") from None
    finally:
        sys.argv = given
    numbered = sorted((path for path in out.glob(f"*/{RESULT}") if path.parent.name.isdigit()), key=_number)
    results = [Result(**json.loads(path.read_text())) for path in numbered]
    write_atomic(out / "results.md", as_markdown(results))
    write_atomic(out / "results.csv", as_csv(results))
    return out, results


def as_markdown(results: Sequence[Result]) -> str:
    """The table of results: a column for each swept key, score, wall time, and what went wrong, if anything."""
    header, *rows = _table(results)
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def as_csv(results: Sequence[Result]) -> str:
    """The same as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(_table(results))
    return text.getvalue()


def _table(results: Sequence[Result]) -> list[list[str]]:
    values = [dict(word.split("=", 1) for word in one.overrides) for one in results]
    swept = [
        key for key in dict.fromkeys(k for one in values for k in one) if len({one.get(key) for one in values}) > 1
    ]
    rows = [["run", *swept, "score", "wall_s", "problem"]]
    for number, (one, its) in enumerate(zip(results, values, strict=True)):
        score = "" if one.score is None else f"{one.score:.4f}"
        rows.append([str(number), *(its.get(key, "") for key in swept), score, f"{one.wall_s:.1f}", one.problem])
    return rows


def _claim(out: Path, sweep: dict[str, Any]) -> None:
    """Refuse a folder of another sweep: its numbered runs would be taken for this one's."""
    path = out / RESULT
    if path.is_file() and json.loads(path.read_text()) != sweep:
        raise ConfigError(f"{out} holds another sweep. Give another run.out, or remove it.")
    write_atomic(path, json.dumps(sweep, indent=1) + "\n")


def _job_of(parts: Parts) -> Callable[[Any], None]:
    """What hydra calls for each combination."""

    def job(composed: Any) -> None:
        _run(composed, parts)

    return job


def _run(composed: Any, parts: Parts) -> None:
    """One combination. A failure is a result too: it must not end the others."""
    from hydra.core.hydra_config import HydraConfig

    job = HydraConfig.get()
    stage, out, words = str(job.job.config_name), Path(job.runtime.output_dir), list(job.overrides.task)
    path = out / RESULT
    if path.is_file():
        before = Result(**json.loads(path.read_text()))
        if before.overrides == words and not before.problem:
            return
    config = typed(composed)
    config.run.out, config.run.progress = str(out), False
    config.run.workers = config.run.workers or 1  # combinations run in parallel already
    start, score, problem = time.monotonic(), None, ""
    try:
        for part in parts:
            part(config)
        score = score_of_run(stage, config)
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
    result = Result(words, score, round(time.monotonic() - start, 3), problem)
    write_atomic(path, json.dumps(asdict(result), indent=1) + "\n")


def score_of_run(stage: str, config: Config) -> float | None:
    """What a sweep compares: the official score, and of a training the best validation score, mean of folds.

    None for a `predict` without `data.solution`. Raises ValueError where there should be a score and is none: a truth
    or train.csv that cannot be read, or too few planets to train on.
    """
    out = Path(config.run.out)
    if stage == "predict":
        if not config.data.solution:
            return None
        train = find_data_root(config.data.root) / "train.csv"
        return float(score_files(Path(config.data.solution).expanduser(), out / "submission.csv", train).total)
    if stage == "diagnose":
        scores = json.loads((out / "scores.json").read_text())
        if config.model.kind not in scores:
            raise ValueError("no score: the truth (data.solution) or train.csv is not there")
        return float(scores[config.model.kind]["total"])
    logs = sorted(out.glob("fusion/fold_*/log.jsonl" if stage == "train" else "pretrain/log.jsonl"))
    best = [max(line["score"] for line in EventLog(log).read() if line["event"] == "validation") for log in logs]
    if not best:
        raise ValueError(
            "no score: no model was trained (model=physics, or fewer than prior.min_train_planets planets)"
        )
    return sum(best) / len(best)


def _number(path: Path) -> int:
    return int(path.parent.name)
