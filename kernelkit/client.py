"""Dataset and kernels to Kaggle and back, over the official `kaggle` client: it alone reads the user's token.

The client leaves out a file whose upload failed and creates the dataset version all the same, and it reports several
errors by text alone. Here each of them ends the command, and what was finished is remembered in `state.json`, so that
the same command again continues.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kitlib.base.paths import COMPETITION
from kitlib.base.provenance import sha256_file, sha256_json, write_atomic

from . import KernelError, output
from .bundle import read_manifest
from .metadata import DATASET, of_kernel

AGAIN = "The same command again continues from here."
PATIENCE_S = 15 * 60.0  # how long a wait endures that no question is answered
FAILED = {"error", "cancel_requested", "cancel_acknowledged"}  # ends of a kernel's run
_HINTS = {
    401: "Kaggle refused the credentials: make a new token on kaggle.com/settings/api, or run `kaggle auth login`.",
    403: f"Kaggle denies access: accept the rules of {COMPETITION} on its page, and check --user.",
    404: "Kaggle does not know it: check --user, and push first.",
    429: "Kaggle's limit on requests or submissions is reached: wait, then run the same command again.",
}


class Trouble(KernelError):
    """Kaggle cannot be reached, has trouble or is asked too often: the same question may be answered later."""

    def __init__(self, happened: str, remedy: str):
        super().__init__(f"{happened}. {remedy}")
        self.happened = happened


class Kaggle:
    """One user's account, through the official client.

    Args:
        user: the account's name; it must be the one that the token belongs to.
        build: the build folder; `push_*` read its `dataset/` and `kernels/KIND/`, `state.json` is kept there.
        poll: seconds between two questions after a status.
        patience: seconds without one answer after which a wait ends.
        say: where progress goes, one line a call.
    """

    def __init__(
        self,
        user: str,
        build: Path,
        poll: float = 20,
        patience: float = PATIENCE_S,
        say: Callable[[str], None] = print,
    ):
        self.user, self.build, self.poll, self.patience, self.say = user, build, poll, patience, say
        self.api = _client()
        owner = self.api.get_config_value(self.api.CONFIG_NAME_USER)
        if owner and owner.lower() != user.lower():
            raise KernelError(f"--user {user}: the token belongs to {owner}. Give --user {owner}, or {user}'s token.")

    @property
    def dataset(self) -> str:
        """OWNER/SLUG of the kit's dataset."""
        return f"{self.user}/{DATASET}"

    def kernel(self, kind: str) -> str:
        """OWNER/SLUG of a kernel."""
        return of_kernel(kind, self.user)["id"]

    def push_dataset(self, wait_s: float = 1800) -> None:
        """Create the dataset, or a version of it, unless this very bundle is there; then wait until it is ready."""
        folder = self.build / "dataset"
        bundle = read_manifest(folder)["bundle"]
        status = self.dataset_status()
        if status and status != "failed" and self._state().get("dataset") == [self.dataset, bundle]:
            self.say(f"dataset {self.dataset} holds {bundle[:16]} already")
        else:
            self.say(f"uploading {'a version of ' if status else ''}{self.dataset}, {bundle[:16]}")
            if status:
                result = _called("dataset version", self.api.dataset_create_version, folder, bundle, dir_mode="zip")
            else:
                result = _called("dataset", self.api.dataset_create_new, folder, dir_mode="zip")
            if result.error or result.status.lower() != "ok":
                raise KernelError(f"Kaggle did not take the dataset: {result.error or result.status}. {AGAIN}")
            self._remember(dataset=[self.dataset, bundle])
        self._wait(
            lambda: self.dataset_status() or "not there yet", {"ready"}, {"failed", "deleted"}, "dataset", wait_s
        )

    def dataset_status(self) -> str | None:
        """Kaggle's word on the latest version, e.g. "ready"; None where there is no such dataset."""
        try:
            return self.api.dataset_status(self.dataset)
        except _no_answer() as error:
            # a private dataset that does not exist is answered with either, to its own owner as well
            response = getattr(error, "response", None)
            if response is not None and response.status_code in (403, 404):
                return None
            raise _explained("dataset status", error) from None

    def check_mounted(self, kind: str) -> None:
        """Raise KernelError where the built kernel mounts another one's output, and that is not there yet."""
        for source in ("train", "infer"):
            if self._mounts(kind, source):
                self._check_run(source, "--trained" if source == "train" else f"--kernel {kind}")

    def _check_run(self, kind: str, why: str) -> None:
        """Raise KernelError unless the latest run of a kernel, which is asked for by `why`, is a success."""
        name, words = self.kernel(kind), f"--kernel {kind} --user {self.user}"
        wait = f"wait until `python build_kernel.py status {words}` says complete"
        remedy = f"Run `python build_kernel.py push {words}`, then {wait}."
        try:
            status, failure = self._run(kind)
        except Trouble:
            raise
        except KernelError as error:
            raise KernelError(f"{why}: {error} {remedy}") from None
        if status in ("queued", "running"):
            raise KernelError(f"{why}: kernel {name} is {status}: {wait}.")
        if failure or status != "complete":
            raise KernelError(f"{why}: the latest run of {name} is no success: {failure or status}. {remedy}")

    def push_kernel(self, kind: str) -> int:
        """Push one built kernel, which also starts it; returns its version number."""
        name, built = self.kernel(kind), self._built(kind)
        result = _called("kernel push", self.api.kernels_push, str(self.build / "kernels" / kind))
        bad = [*result.invalid_dataset_sources, *result.invalid_competition_sources, *result.invalid_kernel_sources]
        if result.error or bad or not result.version_number:
            reason = result.error or (f"unknown sources {', '.join(bad)}" if bad else "no version number came back")
            raise KernelError(f"Kaggle did not take the kernel {name}: {reason}. {AGAIN}")
        pushed = {**built, "version": result.version_number, "submitted": False}
        self._remember(pushed={**self._state().get("pushed", {}), kind: pushed})
        self.say(f"kernel {name}, version {result.version_number}: {result.url}")
        return result.version_number

    def unsubmitted(self, kind: str) -> int | None:
        """Version of the built kernel that was pushed from here and still has to be submitted; None: push one.

        None where none was, where bundle, code or metadata were others, where it was submitted, where its run failed.
        """
        known, name = self._pushed(kind), self.kernel(kind)
        if {**known, **self._built(kind)} != known:
            return None
        version = f"version {known['version']} of {name}"
        if known["submitted"]:
            self.say(f"{version} is the same and was submitted already: pushing another")
            return None
        status, failure = self._run(kind)
        if failure or status in FAILED:
            self.say(f"{version} is the same and failed ({failure or status}): pushing it anew")
            return None
        self.say(f"{version} is the same and was pushed already")
        return known["version"]

    def kernel_status(self, kind: str) -> str:
        """Kaggle's word on the kernel's latest run: queued, running, complete, ... Raises KernelError on failure."""
        status, failure = self._run(kind)
        if failure:
            raise KernelError(f"kernel {self.kernel(kind)}: {status}, {failure}")
        return status

    def wait_for_kernel(self, kind: str, wait_s: float = 12 * 3600) -> None:
        """Wait until the kernel's run is complete. Raises KernelError when it fails, or takes longer than `wait_s`."""
        name, remedy = f"kernel {self.kernel(kind)}", "The same command again pushes it anew."
        self._wait(lambda: self.kernel_status(kind), {"complete"}, FAILED, name, wait_s, remedy)

    def pushed_version(self, kind: str) -> int:
        """Version of the kernel that was pushed last from here. Raises KernelError where none was."""
        if not (known := self._pushed(kind)):
            raise KernelError(f"no pushed version of {self.kernel(kind)} is known here: push first, or give --version")
        return known["version"]

    def require_complete(self, kind: str) -> None:
        """Raise KernelError unless the kernel's latest run is complete."""
        if (status := self.kernel_status(kind)) != "complete":
            said = "`python build_kernel.py status` says complete"
            raise KernelError(f"kernel {self.kernel(kind)} is {status}: submit when {said}")

    def submit(self, message: str, version: int) -> str:
        """Submit the submission.csv of a version of the infer kernel."""
        name = self.kernel("infer")
        submit = self.api.competition_submit_code
        result = _called("submission", submit, "submission.csv", message, COMPETITION, name, version, True)
        if (known := self._pushed("infer")).get("version") == version:
            self._remember(pushed={**self._state()["pushed"], "infer": {**known, "submitted": True}})
        self.say(f"submitted version {version} of {name}: {result.message}")
        return result.message

    def fetch(self, kind: str, out: Path) -> list[str]:
        """Download the kernel's output files and its log; returns their paths. See `output.bring`."""
        owner, _, slug = self.kernel(kind).partition("/")
        files, log = _called("kernel output", output.listed, self.api, owner, slug)
        if not files and not log:
            raise KernelError(f"kernel {self.kernel(kind)} has no output: look at `python build_kernel.py status`")
        if kind == "infer" and output.SUBMISSION not in files:
            self.say(f"there is no {output.SUBMISSION} among the output: the log says how far the run came")
        return [str(path) for path in output.bring(files, log, f"{slug}.log", out, _called)]

    def _run(self, kind: str) -> tuple[str, str]:
        """Status of the kernel's latest run, and why it failed or ""."""
        name = self.kernel(kind)
        try:
            answer = _called("kernel status", self.api.kernels_status, name)
        except KernelError as error:
            if isinstance(error.__cause__, ValueError):  # what the client makes of 401 and 403
                shown = f"Kaggle shows {self.user} no kernel {name}"
                raise KernelError(f"kernel status: {shown}. Push it first, or check --user and the token.") from None
            raise
        return answer.status.name.lower(), answer.failure_message

    def _wait(
        self, ask: Callable[[], str], good: set[str], bad: set[str], what: str, wait_s: float, remedy: str = AGAIN
    ) -> None:
        end, last = time.monotonic() + wait_s, ""
        while (status := self._answer(ask)) not in good:
            if status in bad:
                raise KernelError(f"{what}: Kaggle says {status}. Look at its page on kaggle.com. {remedy}")
            if time.monotonic() > end:
                raise KernelError(f"{what}: still {status} after {wait_s:.0f} s. {AGAIN}")
            if status != last:
                self.say(f"{what}: {status}, waiting")
            last = status
            time.sleep(self.poll)
        self.say(f"{what}: {status}")

    def _answer(self, ask: Callable[[], str]) -> str:
        """The answer to a question that is asked again until there is one, for `patience` seconds."""
        since, told = time.monotonic(), False
        while True:
            try:
                return ask()
            except Trouble as error:
                if time.monotonic() - since > self.patience:
                    raise
                if not told:
                    self.say(f"{error.happened}; asking again for up to {self.patience / 60:.0f} minutes")
                told = True
            time.sleep(self.poll)

    def _state(self) -> dict[str, Any]:
        path = self.build / "state.json"
        try:
            return dict(json.loads(path.read_text())) if path.is_file() else {}
        except (ValueError, TypeError) as error:
            raise KernelError(f"{path} is damaged ({error}): delete it, and push anew") from error

    def _remember(self, **known: Any) -> None:
        write_atomic(self.build / "state.json", json.dumps({**self._state(), **known}, indent=1) + "\n")

    def _pushed(self, kind: str) -> dict[str, Any]:
        """What was pushed last from here: `_built`, its version, whether that was submitted; {} where nothing was."""
        known = self._state().get("pushed", {}).get(kind, {})
        return known if known.get("kernel") == self.kernel(kind) else {}

    def _built(self, kind: str) -> dict[str, Any]:
        """What tells a built kernel from another: its name, the bundle that it needs, its code with its metadata.

        And where it mounts the train kernel's output: the version of that which was pushed last from here.
        """
        files = {path.name: sha256_file(path) for path in (self.build / "kernels" / kind).iterdir()}
        bundle = read_manifest(self.build / "dataset")["bundle"]
        trained = self._pushed("train").get("version") if self._mounts(kind, "train") else None
        return {"kernel": self.kernel(kind), "bundle": bundle, "code": sha256_json(files), "trained": trained}

    def _mounts(self, kind: str, source: str) -> bool:
        """Whether the built kernel `kind` mounts the output of the kernel `source`."""
        metadata = json.loads((self.build / "kernels" / kind / "kernel-metadata.json").read_text())
        return self.kernel(source) in metadata["kernel_sources"]


def _client() -> Any:
    """The official client, logged in, with every file of a dataset uploaded or none."""
    try:
        from kaggle.api.kaggle_api_extended import KaggleApi
    except ImportError as error:
        raise KernelError("the kaggle client is not installed: pip install -r requirements-dev.txt") from error

    class WholeUploads(KaggleApi):
        def _upload_file(
            self, file_name: str, full_path: str, blob_type: Any, context: Any, *rest: Any, **named: Any
        ) -> Any:
            uploaded = super()._upload_file(file_name, full_path, blob_type, context, *rest, **named)
            if uploaded is None:
                # without its record the next run uploads the file anew; with it, it would ask for a dead upload's end
                Path(context.get_upload_info_file_path(full_path)).unlink(missing_ok=True)
                raise KernelError(f"the upload of {file_name} failed. No dataset version was made. {AGAIN}")
            return uploaded

    api = WholeUploads()
    try:
        api.authenticate()
    except SystemExit as error:
        raise KernelError(
            "no Kaggle credentials: run `kaggle auth login`, or save a token from kaggle.com/settings/api "
            "in ~/.kaggle/access_token"
        ) from error
    return api


def _no_answer() -> tuple[type[Exception], ...]:
    """What the client raises where no good answer came: HTTP errors, broken connections, pages that are no JSON."""
    from requests.exceptions import RequestException  # comes with the client

    return RequestException, json.JSONDecodeError


def _called(what: str, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Call the client; its errors become one line that says what to do, without the client's traceback."""
    try:
        return function(*arguments, **named)
    except KernelError:
        raise
    except _no_answer() as error:
        raise _explained(what, error) from None
    except (ValueError, OSError) as error:
        raise KernelError(f"{what}: {error}") from error


def _explained(what: str, error: Any) -> KernelError:
    response = getattr(error, "response", None)
    if response is None:
        return Trouble(f"{what}: Kaggle cannot be reached ({type(error).__name__})", AGAIN)
    code = response.status_code
    hint = _HINTS.get(code, f"Kaggle has trouble. {AGAIN}" if code >= 500 else "Kaggle refuses the request.")
    happened = f"{what}: HTTP {code}, {error}"
    return Trouble(happened, hint) if code >= 500 or code == 429 else KernelError(f"{happened}. {hint}")
