"""A stand-in for Kaggle's servers on the loopback interface, for the real `kaggle` client: stores, unpacks, answers."""

import base64
import io
import json
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote, urlparse

USER, KEY = "jane-doe", "0123456789abcdef0123456789abcdef"


class Loopback:
    """Kaggle, as far as the kit uses it. Tests set the attributes and read `calls` and `versions`."""

    def __init__(self):
        self.versions: list[dict[str, bytes]] = []  # the dataset's versions: path -> content, archives unpacked
        self.unready = 0  # questions after the dataset's status that are answered "not yet"
        self.dataset_status = "READY"
        self.failing_upload = ""  # name of a file whose upload breaks, once
        self.cut_upload = ""  # name of a file in whose upload the connection ends, once
        self.http: dict[str, list[int]] = {}  # method -> what its next calls meet: an HTTP status, 200 for a
        # proper answer, 0 for a connection that ends without one
        self.unknown_sources: list[str] = []  # competitions that the next kernel push finds unknown
        self.kernel_error = ""  # answered to the next kernel push
        self.running = 0  # questions after a kernel's status that are answered "running" ahead of what follows
        self.kernel_status, self.failure = "COMPLETE", ""
        self.cured = False  # whether what is pushed from now on runs to its end
        self.outputs: dict[str, bytes] = {}
        self.cut_output = ""  # name of a file in whose download the connection ends, once
        self.page = 100  # output files a page
        self.log = "the log"
        self.kernels: list[dict] = []
        self.elsewhere: set[str] = set()  # kernels that are there, but were not pushed by this test
        self.submissions: list[dict] = []
        self.calls: list[str] = []
        self._names: dict[str, str] = {}
        self._blobs: dict[str, bytes] = {}
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def _body(self) -> bytes:
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))

            def _send(self, status: int, value: object, sent: int | None = None) -> None:
                data = value if isinstance(value, bytes) else json.dumps(value).encode()
                self.send_response(status)
                kind = "application/octet-stream" if isinstance(value, bytes) else "application/json"
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[:sent])
                self.close_connection = self.close_connection or sent is not None

            def do_GET(self):
                name = unquote(urlparse(self.path).path).removeprefix("/output/")
                statuses = owner.http.get("output")
                if (status := statuses.pop(0) if statuses else 200) != 200:
                    self._send(status, b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>")
                elif owner.cut_output == name:
                    owner.cut_output = ""
                    self._send(200, owner.outputs[name], sent=len(owner.outputs[name]) // 2)
                else:
                    self._send(200, owner.outputs[name])

            def do_PUT(self):
                token = urlparse(self.path).path.removeprefix("/upload/")
                if owner._names[token] == owner.cut_upload and self.headers.get("Content-Length", "0") != "0":
                    owner.cut_upload = ""
                    self.rfile.read(100)
                    self.close_connection = True
                    return
                data = self._body()
                if self.headers.get("Content-Range", "").startswith("bytes */"):  # how far did an earlier run come?
                    self._send(200 if token in owner._blobs else 404, {})
                elif owner._names[token] == owner.failing_upload:
                    owner.failing_upload = ""
                    self._send(500, {})
                else:
                    owner._blobs[token] = data
                    self._send(200, {})

            def do_POST(self):
                method, body = urlparse(self.path).path.rpartition("/")[2], json.loads(self._body() or b"{}")
                owner.calls.append(method)
                known = base64.b64encode(f"{USER}:{KEY}".encode()).decode()
                if self.headers.get("Authorization") != f"Basic {known}":
                    self._send(401, {"code": 401, "message": "Unauthorized"})
                    return
                status = owner.http[method].pop(0) if owner.http.get(method) else 200
                if status == 0:
                    self.close_connection = True
                elif status >= 500:  # comes from in front of the service, as a page
                    self._send(status, b"<html>Bad Gateway</html>")
                elif status != 200:
                    self._send(status, {"code": status, "message": "refused"})
                if status != 200:
                    return
                self._send(*getattr(owner, f"_{method}", owner._unknown)(body))

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        often = 0.01  # seconds: how often it looks whether it is to end
        threading.Thread(target=self.server.serve_forever, args=[often], daemon=True).start()

    def environment(self, home: Path) -> dict[str, str]:
        """What leads the client here and to no other place, with no credentials but this user's."""
        return {
            "KAGGLE_API_ENVIRONMENT": "LOCALHOST",
            "http_proxy": f"http://127.0.0.1:{self.server.server_port}",
            "no_proxy": "",
            "KAGGLE_USERNAME": USER,
            "KAGGLE_KEY": KEY,
            "HOME": str(home),
            "TMPDIR": str(home),
        }

    def _unknown(self, body: dict):
        return 404, {"code": 404, "message": "no such method"}

    def _GetDatasetStatus(self, body: dict):
        if not self.versions:
            return 404, {"code": 404, "message": "Not found"}
        if self.unready:
            self.unready -= 1
            return 200, {"status": "BLOBS_RECEIVED"}
        return 200, {"status": self.dataset_status}

    def _StartBlobUpload(self, body: dict):
        token = f"token-{len(self._names)}"
        self._names[token] = body["name"]
        return 200, {"token": token, "createUrl": f"http://localhost/upload/{token}"}

    def _CreateDataset(self, body: dict):
        return self._store(body["files"])

    def _CreateDatasetVersion(self, body: dict):
        return self._store(body["body"]["files"])

    def _store(self, files: list[dict]):
        """A dataset version as Kaggle makes it: zip archives become folders of their name."""
        content = {}
        for file in files:
            name, data = self._names[file["token"]], self._blobs[file["token"]]
            if name.endswith(".zip"):
                with zipfile.ZipFile(io.BytesIO(data)) as archive:
                    inside = [item for item in archive.namelist() if not item.endswith("/")]
                    content |= {f"{name.removesuffix('.zip')}/{item}": archive.read(item) for item in inside}
            else:
                content[name] = data
        self.versions.append(content)
        return 200, {"status": "ok", "url": "/datasets/x", "ref": "x"}

    def _SaveKernel(self, body: dict):
        if self.kernel_error:
            error, self.kernel_error = self.kernel_error, ""
            return 200, {"error": error}
        if self.unknown_sources:
            unknown, self.unknown_sources = self.unknown_sources, []
            return 200, {"ref": body["slug"], "versionNumber": 1, "invalidCompetitionSources": unknown}
        self.kernels.append(body)
        if self.cured:
            self.kernel_status, self.failure = "COMPLETE", ""
        version = sum(kernel["slug"] == body["slug"] for kernel in self.kernels)
        return 200, {"ref": body["slug"], "url": "/code/x", "versionNumber": version}

    def _GetKernelSessionStatus(self, body: dict):
        name = f"{body['userName']}/{body['kernelSlug']}"
        if name not in self.elsewhere and all(kernel["slug"] != name for kernel in self.kernels):
            return 403, {"code": 403, "message": "Permission 'kernels.get' was denied"}
        if self.running:
            self.running -= 1
            return 200, {"status": "RUNNING"}
        return 200, {"status": self.kernel_status, "failureMessage": self.failure}

    def _ListKernelSessionOutput(self, body: dict):
        files = [{"fileName": name, "url": f"http://localhost/output/{quote(name)}"} for name in self.outputs]
        start = int(body.get("pageToken") or 0)
        more = {"nextPageToken": str(start + self.page)} if start + self.page < len(files) else {}
        return 200, {"files": files[start : start + self.page], "log": self.log, **more}

    def _CreateCodeSubmission(self, body: dict):
        self.submissions.append(body)
        return 200, {"message": "Successfully submitted", "ref": 1}
