"""A DICOMweb archive in a thread: what MONAI Label asks of one, on a few files in memory."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pydicom

SHOWN = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "Modality", "SeriesDescription")


class Archive:
    """Serves DICOM files over QIDO, WADO and STOW at ``address``; what is stored is added to ``files``."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self.files = [pydicom.dcmread(path) for path in paths]
        archive = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                archive.answer(self)

            def do_POST(self) -> None:
                archive.store(self)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/dicom-web"
        Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        url = urlsplit(handler.path)
        wanted = dict(parse_qsl(url.query))
        match = re.fullmatch(r"/dicom-web/studies/([\d.]+)/series/([\d.]+)(/metadata)?", url.path)
        if match:
            found = [file for file in self.files if file.SeriesInstanceUID == match[2]]
            headers = [{k: v for k, v in json.loads(f.to_json()).items() if k != "7FE00010"} for f in found]
            _send(handler, *(_json(headers) if match[3] else _multipart(found)))
            return
        series = {file.SeriesInstanceUID: file for file in self.files}.values()
        fit = [file for file in series if all(str(file.get(k, "")) == v for k, v in wanted.items() if k in SHOWN)]
        _send(handler, *_json([_shown(file) for file in fit]))

    def store(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        start = body.index(b"\r\n\r\n") + 4
        file = pydicom.dcmread(BytesIO(body[start : body.rindex(b"\r\n--")]))
        self.files.append(file)
        place = f"{self.address}/studies/{file.StudyInstanceUID}/series/{file.SeriesInstanceUID}"
        done = pydicom.Dataset()
        done.RetrieveURL = place
        _send(handler, json.dumps(done.to_json_dict()).encode(), "application/dicom+json")


def _shown(file: pydicom.Dataset) -> dict[str, Any]:
    short = pydicom.Dataset()
    for name in SHOWN:
        setattr(short, name, file.get(name, ""))
    content: dict[str, Any] = short.to_json_dict()
    return content


def _json(content: Any) -> tuple[bytes, str]:
    return json.dumps(content).encode(), "application/dicom+json"


def _multipart(files: list[pydicom.Dataset]) -> tuple[bytes, str]:
    mark = uuid.uuid4().hex
    parts = []
    for file in files:
        content = BytesIO()
        file.save_as(content)
        parts.append(f"--{mark}\r\nContent-Type: application/dicom\r\n\r\n".encode() + content.getvalue() + b"\r\n")
    return b"".join(parts) + f"--{mark}--".encode(), f'multipart/related; type="application/dicom"; boundary={mark}'


def _send(handler: BaseHTTPRequestHandler, body: bytes, kind: str) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)
