"""The first cell of every kernel, below the mark: BUNDLE_HASH and DATASET_SLUG are filled in when it is rendered."""

# %%
import json
import os
import sys
from pathlib import Path

bundle, slug = "BUNDLE_HASH", "DATASET_SLUG"
mounts = Path(os.environ.get("KITLIB_KAGGLE_INPUT", "/kaggle/input"))
forms = (slug, f"datasets/*/{slug}", f"notebooks/*/{slug}", "*", "datasets/*/*", "notebooks/*/*", "models/*/*/*/*/*")
found = [path.parent for form in forms for path in sorted(mounts.glob(f"{form}/KIT_MANIFEST.json"))]
mounted = {kit: json.loads((kit / "KIT_MANIFEST.json").read_text())["bundle"] for kit in found}
kit = next((folder for folder, hashed in mounted.items() if hashed == bundle), None)
if kit is None:
    seen = "\n".join(f"  {folder}: {hashed[:16]}" for folder, hashed in mounted.items()) or "  no kit at all"
    raise FileNotFoundError(
        f"the kit {bundle[:16]} is not mounted below {mounts}:\n{seen}\n"
        f"Attach the dataset {slug}. A new version mounts some minutes late: run this kernel again, or push it again."
    )
sys.path.insert(0, str(kit))
from kernelkit.start import start  # noqa: E402

start(kit)
