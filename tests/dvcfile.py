"""dvc.yaml as the tests read it, and a manifest held against it."""

from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def listed(stage: str, *kinds: str) -> list[str]:
    """Paths as they are written, whatever options they have."""
    entries = [entry for kind in kinds for entry in STAGES[stage].get(kind, [])]
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def check_manifest(stage: str, manifest: dict, root: Path) -> None:
    """A stage's manifest against its deps and outs."""
    outs = [path.removeprefix("${run.out}/") for path in listed(stage, "outs", "metrics")]
    deps = [path.removeprefix("${run.out}/") for path in listed(stage, "deps")]
    deps = [path.replace("${data.root}", str(root)) for path in deps]

    def under(name: str, folders: list[str]) -> bool:
        return any(name == folder or name.startswith(f"{folder}/") for folder in folders)

    own = {f"configs/{stage}.yaml"}
    # what the stage finds made it may also find wanting: `predict` completes the light curves
    assert not [name for name in manifest["outputs"] if not under(name, outs + deps) and name not in own]
    empty = {"fusion"}  # few planets: the shipped model answers
    assert not [out for out in outs if out not in empty and not any(under(name, [out]) for name in manifest["outputs"])]
    assert not [name for name in manifest["inputs"] if not under(name, deps)]
