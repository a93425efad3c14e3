"""From this checkout to Kaggle's leaderboard, step by step or all at once.

    python build_kernel.py all --user NAME       build, push, wait for the run, submit

Given again after it was cut off, `all` goes on with what it had pushed: the kernel is not pushed a second time while
bundle and code are the same, until its run fails or is submitted. After that, `all` pushes, runs and submits anew.

Each step can be run alone, in this order; `push` runs the steps before it where their results are missing or old.

    wheels    what Kaggle's image lacks, held to the hashes in wheels/*.lock; the repository holds them already
    dataset   build/dataset/: kitlib, configs, wheels, weights and a manifest with the sha256 of every file
    kernel    build/kernels/{train,infer,diagnose}/: the notebooks with their first cell, and checked metadata
    twin      runs the infer kernel here, offline, as Kaggle would: no account is needed
    push      dataset (created, or a new version), wait until Kaggle has it ready, then the kernel, which starts it;
              always a new version of the kernel, and a new run
    status    what Kaggle says about dataset and kernel
    submit    submits the pushed version of the infer kernel, once its run is complete
    fetch     downloads the kernel's output and log to build/output/

The shipped prior, models and calibrators have seen simulated planets alone. To learn from the competition's own first,
run the train kernel, which takes GPUs from the weekly quota, and have infer mount what it leaves:

    python build_kernel.py push --kernel train --user NAME
    python build_kernel.py status --kernel train --user NAME      again, until it says complete
    python build_kernel.py all --trained --user NAME

The diagnose kernel mounts what infer has left, draws its figures and writes report.html (with --trained, where infer
was):

    python build_kernel.py push --kernel diagnose --user NAME

Kaggle's token is read by the official `kaggle` client alone: `kaggle auth login`, or ~/.kaggle/access_token.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from kernelkit import MIB, ROOT, KernelError, bundle, kernels, wheels
from kernelkit.client import PATIENCE_S, Kaggle
from kernelkit.metadata import checked_user
from kitlib.base.version import __version__

BUILD = ROOT / "build"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one step; returns the exit status: 0, or 1 after an error whose message is on stderr."""
    given = _parser().parse_args(arguments)
    try:
        if "user" in given:
            checked_user(given.user)
        given.step(given)
    except (ValueError, OSError) as error:
        print(f"build_kernel.py {given.name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"build_kernel.py {given.name}: interrupted; the same command again continues", file=sys.stderr)
        return 130
    return 0


def make_wheels(given: argparse.Namespace) -> None:
    """Fill wheels/ and check what is there."""
    added = wheels.fill(ROOT / "wheels")
    present = sorted((ROOT / "wheels").glob("*.whl"))
    size = sum(path.stat().st_size for path in present) / MIB
    print(f"{len(present)} wheels, {size:.1f} MiB, every hash as locked; added: {[p.name for p in added] or 'none'}")


def make_dataset(given: argparse.Namespace) -> None:
    """Stage build/dataset/."""
    content = bundle.stage(given.build / "dataset", given.user)
    size = sum(entry["bytes"] for entry in content["files"].values()) / MIB
    print(f"{given.build / 'dataset'}: {len(content['files'])} files, {size:.1f} MiB, bundle {content['bundle'][:16]}")


def make_kernel(given: argparse.Namespace) -> None:
    """Render the kernels for the staged dataset."""
    content = bundle.read_manifest(given.build / "dataset")
    for kind in kernels.KINDS:
        folder = given.build / "kernels" / kind
        metadata = kernels.build(kind, folder, given.user, content["bundle"], trained=given.trained)
        machine = "CPU only" if metadata["machine_shape"] == "None" else metadata["machine_shape"]
        mounted = "".join(f", mounts {name}" for name in metadata["kernel_sources"])
        print(f"{folder}: {metadata['id']}, internet off, {machine}{mounted}")


def run_twin(given: argparse.Namespace) -> None:
    """Run the infer kernel in a clean room, in one mount layout or in all."""
    from kernelkit import room, twin

    make_dataset(given)
    make_kernel(given)
    with tempfile.TemporaryDirectory() as scratch:
        prefix, data = given.prefix or Path(scratch) / "room", given.data or _simulated(Path(scratch), given.size)
        for layout in room.LAYOUTS if given.layout == "all" else [given.layout]:
            report = twin.run(given.build, data, prefix, layout, given.image, given.isolate)
            print("\n".join(report.lines()), flush=True)
            if given.prefix is None:
                twin.clear(prefix)


def push(given: argparse.Namespace) -> None:
    """Build what is missing, push dataset and kernel."""
    _with_dataset(given).push_kernel(given.kernel)


def status(given: argparse.Namespace) -> None:
    """Print what Kaggle says; a failed run is an error."""
    account = _account(given)
    print(f"dataset {account.dataset}: {account.dataset_status() or 'not there'}")
    print(f"kernel {account.kernel(given.kernel)}: {account.kernel_status(given.kernel)}")


def submit(given: argparse.Namespace) -> None:
    """Submit the infer kernel's output."""
    account = _account(given)
    version = given.version or account.pushed_version("infer")
    account.require_complete("infer")
    account.submit(given.message, version)


def fetch(given: argparse.Namespace) -> None:
    """Download the kernel's output."""
    for path in _account(given).fetch(given.kernel, given.build / "output" / given.kernel):
        print(path)


def everything(given: argparse.Namespace) -> None:
    """Push unless that was done, wait until the run is complete, submit."""
    account = _with_dataset(given)
    version = account.unsubmitted("infer") or account.push_kernel("infer")
    account.wait_for_kernel("infer")
    account.submit(given.message, version)


def _with_dataset(given: argparse.Namespace) -> Kaggle:
    """The account, once everything is built and Kaggle has the dataset."""
    if given.trained and given.kernel == "train":
        raise KernelError("--trained is for the infer kernel and for diagnose, not for train")
    make_wheels(given)
    make_dataset(given)
    make_kernel(given)
    account = _account(given)
    account.check_mounted(given.kernel)
    account.push_dataset(given.wait)
    return account


def _account(given: argparse.Namespace) -> Kaggle:
    return Kaggle(given.user, given.build, given.poll, given.patience, partial(print, flush=True))


def _simulated(scratch: Path, size: str) -> Path:
    """Data root of a simulated campaign: of few frames, or ten test planets of the real number of frames."""
    from kitlib import pipeline
    from kitlib.base.config import compose

    planets = {"tiny": ["train_planets=4"], "full": ["train_planets=1", "test_planets=10"]}[size]
    print(f"no --data: simulating a campaign of {size} size", flush=True)
    words = [f"simulate.{word}" for word in (*planets, f"out={scratch / 'campaign'}")]
    return pipeline.simulate(compose("simulate", ["env=ci", f"data=sim_{size}", *words, f"run.out={scratch / 'run'}"]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=__version__)
    steps = parser.add_subparsers(title="steps", metavar="STEP", required=True, dest="name")

    def add(
        name: str, step: Callable[[argparse.Namespace], object], text: str, user: str | None = "required"
    ) -> argparse.ArgumentParser:
        sub = steps.add_parser(name, help=text, description=text)
        sub.set_defaults(step=step)
        sub.add_argument("--build", type=Path, default=BUILD, help="where results go (default: build/)")
        if user == "required":
            sub.add_argument("--user", required=True, help="your Kaggle user name, as in kaggle.com/NAME")
        elif user:
            sub.add_argument("--user", default=user, help="your Kaggle user name (default: %(default)s)")
        return sub

    add("wheels", make_wheels, "fill wheels/ from the lock files and check every hash", user=None)
    add("dataset", make_dataset, "stage build/dataset/, the same bytes each time")
    rendered = add("kernel", make_kernel, "render build/kernels/{train,infer,diagnose} for the staged dataset")
    twin = add("twin", run_twin, "run the infer kernel here as Kaggle would, offline; no account needed", user="twin")
    twin.set_defaults(build=BUILD / "twin", trained=False)
    twin.add_argument("--data", type=Path, help="a data root with a test set (default: simulate one)")
    twin.add_argument(
        "--size",
        default="tiny",
        choices=["tiny", "full"],
        help="frames of what is simulated; full: the real number, minutes of work and 2 GB, for a projection",
    )
    forms = ["flat", "dataset", "notebook", "model", "all"]
    twin.add_argument("--layout", default="dataset", choices=forms, help="how Kaggle mounts the kit (default: dataset)")
    twin.add_argument(
        "--image", default="local", choices=["local", "index"], help="whose package versions: see room.py"
    )
    twin.add_argument("--isolate", default="", choices=["", "namespace", "sockets"], help="default: the best there is")
    twin.add_argument("--prefix", type=Path, help="where the room is built and left (default: temporary, removed)")
    pushed = add("push", push, "upload dataset and kernel; builds what is missing, and always starts a new run")
    stated = add("status", status, "what Kaggle says about dataset and kernel")
    submitted = add("submit", submit, "submit the last pushed version of the infer kernel")
    fetched = add("fetch", fetch, "download the kernel's output and log")
    whole = add("all", everything, "push, wait for the run, submit; again: goes on with what is not submitted yet")
    for sub in (pushed, stated, fetched):
        sub.add_argument("--kernel", default="infer", choices=kernels.KINDS, help="which kernel (default: infer)")
    for sub in (submitted, whole):
        sub.add_argument("--message", default=f"SpectraMind V50 {__version__}", help="shown beside the submission")
    submitted.add_argument("--version", type=int, help="kernel version (default: the one pushed last from here)")
    whole.set_defaults(kernel="infer")
    for sub in (rendered, pushed, whole):
        sub.add_argument(
            "--trained",
            action="store_true",
            help="infer (and diagnose) mounts the output of your train kernel, whose run must be complete, and uses it",
        )
    for sub in (pushed, whole):
        sub.add_argument(
            "--wait", type=float, default=1800, help="seconds to wait for the dataset (default: %(default)s)"
        )
    for sub in (pushed, stated, submitted, fetched, whole):
        sub.add_argument(
            "--poll", type=float, default=20, help="seconds between two looks at Kaggle (default: %(default)s)"
        )
        sub.add_argument(
            "--patience",
            type=float,
            default=PATIENCE_S,
            help="seconds without an answer from Kaggle that a wait endures (default: %(default)g)",
        )
    return parser


if __name__ == "__main__":
    sys.exit(main())
