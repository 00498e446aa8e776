"""Serves the page, and closed loops for its settings, to this machine alone."""

from __future__ import annotations

import json
import sys
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any

from koopctrl.errors import OptionError
from koopctrl.tune.loop import Bench
from koopctrl.tune.settings import Settings, controls

_FILES = {
    "/": ("index.html", "text/html"), "/tune.js": ("tune.js", "text/javascript"),
    "/tune.css": ("tune.css", "text/css"),
}  # fmt: skip
_MOST = 100_000  # bytes of a request


def serve(model: Any, path: str, *, plant: str | None = None, port: int = 0) -> ThreadingHTTPServer:
    """Server of the page at `http://127.0.0.1:port/`; call `serve_forever` of it.

    Parameters
    ----------
    model : KoopmanRNN
        Fitted, with inputs.
    path : str
        File of the model, as the shown program loads it.
    plant : str, optional
        Gymnasium's name of a plant on which loops run; the model itself by default.
    port : int
        0 for any that is free: `server.server_port` tells which.

    Raises
    ------
    OptionError, ShapeError
        If the model has no inputs, there is no such plant or it measures other signals, or the port is taken.
    """
    if not model.n_u:
        raise OptionError("model has no inputs; expected one with inputs, which a controller can move")
    bench = Bench(model, path, plant)
    try:
        return _Server(("127.0.0.1", port), partial(_Handler, bench))
    except OSError as error:
        raise OptionError(
            f"port is {port}, where no page can be served ({error.strerror}); expected one that is free. 0 "
            "takes any"
        ) from error


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Tell what went wrong, but not that a page was closed before its answer came."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, bench: Bench, *args: Any, **kwargs: Any) -> None:
        self.bench = bench
        super().__init__(*args, **kwargs)

    def do_GET(self) -> None:
        """The page, and what its controls are."""
        if not self._local():
            return
        if self.path == "/setup":
            model = self.bench.model
            title = f"{self.bench.path} on {self.bench.plant or 'the model itself'}"
            start = Settings.of_model(model).to_dict()
            self._answer({"title": title, "controls": controls(model), "settings": start})
        elif self.path in _FILES:
            name, kind = _FILES[self.path]
            text = (resources.files("koopctrl.tune") / "page" / name).read_bytes()
            self._send(HTTPStatus.OK, f"{kind}; charset=utf-8", text)
        else:
            self._refuse(HTTPStatus.NOT_FOUND, f"there is no {self.path}")

    def do_POST(self) -> None:
        """A closed loop for the settings in the body."""
        if not self._local():
            return
        length = self.headers.get("Content-Length", "")
        if self.path != "/run" or not length.isdigit() or int(length) > _MOST:
            self._refuse(HTTPStatus.BAD_REQUEST, f"expected settings of at most {_MOST} bytes, at /run")
            return
        try:
            settings = Settings.from_dict(json.loads(self.rfile.read(int(length))), self.bench.model)
        except (OptionError, ValueError) as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
            return
        self._answer(self.bench.run(settings))

    def _local(self) -> bool:
        """Whether the page was asked for by this machine's name: pages from elsewhere cannot ask under it."""
        host = self.headers.get("Host", "").rsplit(":", 1)[0]
        origin = self.headers.get("Origin")
        fine = host in ("127.0.0.1", "localhost") and origin in (None, f"http://{self.headers.get('Host')}")
        if not fine:
            self._refuse(HTTPStatus.FORBIDDEN, "only pages of this server may ask it")
        return fine

    def _answer(self, found: dict[str, Any]) -> None:
        self._send(HTTPStatus.OK, "application/json", json.dumps(found, allow_nan=False).encode())

    def _refuse(self, status: HTTPStatus, text: str) -> None:
        self._send(status, "application/json", json.dumps({"error": text}).encode())

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a slider asks many times."""
