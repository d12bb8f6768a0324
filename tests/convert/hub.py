"""A Hugging Face hub of one repository, on this machine, with a few bad habits.

Only what its Python library asks for: the listing of a commit, and files with ETag,
commit and ranges (https://huggingface.co/docs/hub/api).
"""

import contextlib
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What it serves, what it does wrong, and what it was asked."""

    folder: Path
    repo: str = "someone/model"
    cut: dict[str, int] = field(default_factory=dict)  # file -> bytes, once
    wrong: dict[str, bytes] = field(default_factory=dict)  # file -> sent instead
    refused: dict[str, int] = field(default_factory=dict)  # file -> HTTP status
    gone: bool = False  # every answer is an error
    commit: str = COMMIT
    asked: list[tuple[str, str | None]] = field(default_factory=list)  # file, range
    address: str = ""

    @property
    def fetched(self) -> list[str]:
        """Files in the order of their first bytes."""
        return list(dict.fromkeys(file for file, _ in self.asked))


@contextlib.contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """Answer on a port of this machine until the block ends."""

    class Handler(_Handler):
        served = hub

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    served: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """In silence."""

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        hub, path = self.served, unquote(self.path.split("?")[0])
        prefix = f"/{hub.repo}/resolve/"
        if hub.gone:
            self._send(503, b"", {}, with_body)
        elif path.startswith(f"/api/models/{hub.repo}"):
            tree = path.startswith(f"/api/models/{hub.repo}/tree/")
            body = json.dumps(_tree(hub) if tree else _listing(hub)).encode()
            self._send(200, body, {"Content-Type": "application/json"}, with_body)
        elif path.startswith(prefix):
            self._send_file(path.removeprefix(prefix).partition("/")[2], with_body)
        else:
            self._send(404, b"", {"X-Error-Code": "RepoNotFound"}, with_body)

    def _send_file(self, name: str, with_body: bool) -> None:
        hub = self.served
        if name in hub.refused:
            self._send(hub.refused[name], b"", {}, with_body)
            return
        if not (hub.folder / name).is_file():
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"}, with_body)
            return
        true = (hub.folder / name).read_bytes()
        body = hub.wrong.get(name, true)
        headers = {
            "ETag": f'"{hashlib.sha256(true).hexdigest()}"',
            "X-Repo-Commit": hub.commit,
            "Accept-Ranges": "bytes",
        }
        asked = self.headers.get("Range")
        if with_body:
            hub.asked.append((name, asked))
        if asked:
            start = int(asked.removeprefix("bytes=").partition("-")[0])
            whole = len(body)
            headers["Content-Range"] = f"bytes {start}-{whole - 1}/{whole}"
            self._send(206, body[start:], headers, with_body)
        else:
            cut = hub.cut.pop(name, None) if with_body else None
            self._send(200, body, headers, with_body, cut)

    def _send(
        self,
        status: int,
        body: bytes,
        headers: dict[str, str],
        with_body: bool,
        cut: int | None = None,
    ) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body[:cut])
        if cut is not None:
            self.close_connection = True


def _listing(hub: Hub) -> dict[str, Any]:
    files = [file for file in sorted(hub.folder.iterdir()) if file.is_file()]
    return {
        "id": hub.repo,
        "modelId": hub.repo,
        "sha": hub.commit,
        "private": False,
        "tags": [],
        "downloads": 0,
        "siblings": [_sibling(file) for file in files],
    }


def _tree(hub: Hub) -> list[dict[str, Any]]:
    return [
        {
            "type": "file",
            "path": file.name,
            "size": file.stat().st_size,
            "oid": hashlib.sha1(file.read_bytes()).hexdigest(),
        }
        for file in sorted(hub.folder.iterdir())
    ]


def _sibling(file: Path) -> dict[str, Any]:
    content = file.read_bytes()
    found: dict[str, Any] = {"rfilename": file.name, "size": len(content)}
    if file.suffix == ".safetensors":
        digest = hashlib.sha256(content).hexdigest()
        found["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 1}
    return found
