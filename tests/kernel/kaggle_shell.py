"""Scripts in processes of their own, forked from one that has imported what they import: that is paid once.

Reads lines `[[SCRIPT, WORD, ...], ENVIRONMENT]` of JSON and answers each with `[STATUS, OUTPUT]`. The `kaggle` package
itself is each script's own: it reads the environment when it is imported.
"""

import importlib
import json
import os
import runpy
import sys
import tempfile
import traceback
import zlib

sys.path.insert(0, os.getcwd())  # as for a script of this folder
KIT = ("kernelkit.client", "kernelkit.kernels", "kitlib.submission")
for name in ("bleach", "kagglesdk.kaggle_client", "requests", *KIT):
    importlib.import_module(name)
zlib.Z_DEFAULT_COMPRESSION = 1  # the client's archives: how small they are is not tested, and takes most of the time


def script(line: list[str], environment: dict[str, str], said: int) -> int:
    """Run it as the interpreter would, and return its exit status."""
    for stream in (1, 2):
        os.dup2(said, stream)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = line
    try:
        runpy.run_path(line[0], run_name="__main__")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


for request in sys.stdin:
    with tempfile.TemporaryFile() as output:
        child = os.fork()
        if not child:
            os._exit(script(*json.loads(request), output.fileno()))
        _, status = os.waitpid(child, 0)
        output.seek(0)
        print(json.dumps([os.waitstatus_to_exitcode(status), output.read().decode()]), flush=True)
