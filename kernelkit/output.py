"""A kernel's output files, down to this machine: all of them whole, or none in the place of an older one.

The official client writes whatever comes back into the file, an error page as well, and empties the older file first.
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kitlib.base.provenance import PART

from . import KernelError

SUBMISSION = "submission.csv"
_TIMEOUT_S = 300.0  # without a byte
_CHUNK = 1 << 20


def listed(api: Any, owner: str, slug: str) -> tuple[dict[str, str], str]:
    """Output files of a kernel's latest run, name -> address, and its log. `api`: the client, logged in."""
    from kagglesdk.kernels.types.kernels_api_service import ApiListKernelSessionOutputRequest

    files: dict[str, str] = {}
    log = token = ""
    with api.build_kaggle_client() as kaggle:
        while True:
            request = ApiListKernelSessionOutputRequest()
            request.user_name, request.kernel_slug = owner, slug
            if token:
                request.page_token = token
            page = kaggle.kernels.kernels_api_client.list_kernel_session_output(request)
            files |= {item.file_name: item.url for item in page.files or []}
            log = log or page.log or ""
            if not (token := page.next_page_token or ""):
                return files, log


def bring(files: dict[str, str], log: str, log_name: str, out: Path, called: Callable[..., Any]) -> list[Path]:
    """Download `files` and put them and the log into `out`; returns their paths.

    Nothing in `out` changes before every file is there and whole, and submission.csv is valid.

    Args:
        called: runs a function with its arguments, and explains what the network raises.

    Raises:
        KernelError: a file cannot be had, is cut, has a name that leads out of `out`, or is no valid submission.
    """
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".fetch.", suffix=PART, ignore_cleanup_errors=True) as scratch:
        stage, names = Path(scratch), []
        for name, url in files.items():
            target = (stage / name).resolve()
            if not name or not target.is_relative_to(stage.resolve()) or target == stage.resolve():
                raise KernelError(f"an output file is called {name!r}, which leads out of {out}: nothing was fetched")
            target.parent.mkdir(parents=True, exist_ok=True)
            called(f"output file {name}", _download, url, target)
            names.append(name)
        if log:
            (stage / log_name).write_text(log, encoding="utf-8")
            names.append(log_name)
        if SUBMISSION in files:
            _check(stage / SUBMISSION, out)
        for name in names:
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(stage / name, out / name)
    return [out / name for name in names]


def _download(url: str, target: Path) -> None:
    """One file. Raises requests' errors, HTTPError for any status but 200, and for a body that is cut."""
    import requests  # comes with the client

    with requests.get(url, stream=True, timeout=_TIMEOUT_S) as response:
        if response.status_code != 200:
            raise requests.HTTPError(response.reason or "no file came back", response=response)
        size = 0
        with open(target, "wb") as stream:
            for chunk in response.iter_content(_CHUNK):
                size += stream.write(chunk)
        announced = response.headers.get("Content-Length")
        if announced and "Content-Encoding" not in response.headers and size != int(announced):
            raise requests.ConnectionError(f"{size} of {announced} bytes came")


def _check(path: Path, out: Path) -> None:
    from kitlib.submission import SubmissionError, validate_submission  # seconds that no other step needs

    try:
        validate_submission(path).raise_for_errors()
    except SubmissionError as error:
        text = str(error).replace(str(path), f"the kernel's {SUBMISSION}").split("\nWrite it with")[0]
        kept = "; the older one stays" if (out / SUBMISSION).is_file() else ""
        raise KernelError(f"{text}\nNothing was put into {out}{kept}. Look at the kernel's log on its page.") from None
