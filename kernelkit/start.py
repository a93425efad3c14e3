"""What the first cell of a kernel runs: check the mounted kit, install the missing wheels, print the machine.

It runs before anything is installed, from a read-only folder, on images with and without a GPU: standard library only.
"""

import hashlib
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

MANIFEST = "KIT_MANIFEST.json"
_SHOWN = ("numpy", "polars", "pyarrow", "scipy", "numba", "torch")
# Runs in a process of its own: a GPU that its torch cannot use fails late and leaves the process unusable.
_GPU_PROBE = """
import json, torch
found = []
for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
    name, arch = torch.cuda.get_device_name(i), "sm_%d%d" % torch.cuda.get_device_capability(i)
    state = "ok" if arch in torch.cuda.get_arch_list() else "torch is not compiled for " + arch
    try:
        if state == "ok" and torch.ones(1, device="cuda:%d" % i).add(1).item() != 2:
            state = "computes nonsense"
    except Exception as error:
        state = "fails: " + str(error).splitlines()[0]
    found.append({"index": i, "name": name, "arch": arch, "state": state})
print(json.dumps(found))
"""


class StartError(ValueError):
    """The kit cannot be used as it is mounted; the message says which file and what to do."""


def verify(kit: Path) -> dict[str, Any]:
    """The manifest, once every file of it is there with its sha256. Raises StartError naming the first that is not."""
    content = json.loads((kit / MANIFEST).read_text())
    for name, entry in content["files"].items():
        path = kit / name
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise StartError(f"{kit / MANIFEST} names {name}, which is outside of the kit")
        if not path.is_file():
            raise StartError(f"{path} is missing from the mounted dataset. Run `python build_kernel.py push` again.")
        if hashlib.sha256(path.read_bytes()).hexdigest() != entry["sha256"]:
            raise StartError(f"{path} is not the file that was pushed. Run `python build_kernel.py push` again.")
    hashes = {name: entry["sha256"] for name, entry in content["files"].items()}
    if hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest() != content["bundle"]:
        raise StartError(f"{kit / MANIFEST} does not belong to its files. Run `python build_kernel.py push` again.")
    return content


def lock_for(folder: Path, version: tuple[int, int]) -> Path:
    """Lock file of a Python version; the newest one for a Python that has none, whose wheels are pure all the same."""
    exact = folder / f"cp{version[0]}{version[1]}.lock"
    return exact if exact.is_file() else sorted(folder.glob("cp*.lock"))[-1]


def installed(name: str) -> str | None:
    """Version of a distribution in this environment, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def install(kit: Path, python: str = sys.executable) -> dict[str, str]:
    """Install the wheels whose distribution is absent, offline and without dependencies; nothing is ever upgraded.

    Returns name -> what was done. Raises StartError with pip's last lines where pip fails.
    """
    wheels, done, chosen = kit / "wheels", {}, []
    lock = lock_for(wheels, sys.version_info[:2])
    for line in lock.read_text().splitlines():
        if match := re.match(r"([\w.-]+)==(\S+) ", line):
            name, version = match[1], match[2]
            if (present := installed(name)) is None:
                chosen.append(line)
                done[name] = f"{version}, installed from {lock.name}"
            else:
                done[name] = present + (" as in the kit" if present == version else f" of the image, not {version}")
    if chosen:
        flags = ["--no-index", "--no-deps", "--require-hashes", "--no-cache-dir", "--disable-pip-version-check"]
        command = [python, "-m", "pip", "install", "--quiet", *flags, "--find-links", str(wheels), "-r", "/dev/stdin"]
        result = subprocess.run(command, input="\n".join(chosen) + "\n", capture_output=True, text=True)
        if result.returncode:
            raise StartError(f"pip cannot install from {wheels}:\n{result.stderr[-2000:]}")
        importlib.invalidate_caches()
    return done


def memory_gib() -> tuple[float, float]:
    """Memory that this machine has, and that is free, GiB; a container's own limit counts where it is lower."""
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    total, free = (int(fields[key].split()[0]) / (1 << 20) for key in ("MemTotal", "MemAvailable"))
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        if Path(path).is_file() and (text := Path(path).read_text().strip()).isdigit():
            total = min(total, int(text) / (1 << 30))
    return total, min(free, total)


def gpus(python: str = sys.executable) -> list[dict[str, Any]]:
    """Every GPU that torch sees, each tried with one operation: index, name, arch, state ("ok", or what is wrong)."""
    result = subprocess.run([python, "-c", _GPU_PROBE], capture_output=True, text=True)
    if result.returncode:
        said = result.stderr.strip().splitlines() or [f"status {result.returncode}"]
        return [{"index": -1, "name": "torch", "arch": "", "state": f"fails: {said[-1]}"}]
    return json.loads(result.stdout.strip().splitlines()[-1])


def hide_unusable(found: list[dict[str, Any]]) -> None:
    """Leave only the usable GPUs visible to this process and its children, where torch sees some that are not."""
    if any(gpu["state"] != "ok" for gpu in found):
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(str(gpu["index"]) for gpu in found if gpu["state"] == "ok")


def table(rows: list[tuple[str, str]]) -> str:
    """Rows as two aligned columns."""
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def start(kit: Path) -> None:
    """Check, install, probe; prints one table. Raises StartError where the kernel could not run on from here."""
    began = time.monotonic()
    content = verify(kit)
    done = install(kit)
    found = gpus()
    hide_unusable(found)
    total, free = memory_gib()
    shown = [f"{gpu['name']} {gpu['arch']}: {gpu['state']}" for gpu in found] or ["none: everything runs on the CPU"]
    rows = [
        ("kit", f"{content['kit']}, {content['bundle'][:16]}, {len(content['files'])} files checked in {kit}"),
        ("python", f"{sys.version.split()[0]}, wheels of {lock_for(kit / 'wheels', sys.version_info[:2]).name}"),
        ("cores", str(len(os.sched_getaffinity(0)))),
        ("memory", f"{total:.1f} GiB, {free:.1f} free"),
        ("disk", f"{shutil.disk_usage('.').free / (1 << 30):.1f} GiB free in {Path.cwd()}"),
        *(("GPU", text) for text in shown),
        *done.items(),
        *((name, installed(name) or "absent") for name in _SHOWN),
        ("ready", f"after {time.monotonic() - began:.1f} s"),
    ]
    print(table(rows))
