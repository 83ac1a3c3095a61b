"""Where the images of annotation tasks come from: a folder, the annotation server, other servers, the task itself.

    /data/local-files/?d=dogs/1.jpg      ROOT/dogs/1.jpg; without a root, from the server
    dogs/1.jpg, /images/dogs/1.jpg       the same file, where ROOT is /images
    /data/upload/3/1.jpg                 HOST/data/upload/3/1.jpg, with the token
    https://images.example/1.jpg         only from HOST and from servers that are named
    data:image/png;base64,iVBO...        in the address itself

What an address leads to is decided by whoever makes tasks, so nothing outside the root and no other server is read:
also not by "..", by a link in the folder, or by a server that redirects.
"""

from __future__ import annotations

import base64
import binascii
import http.client
import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote, unquote_to_bytes, urljoin, urlsplit

from ca_seg.data.inputs import NamedImage
from ca_seg.data.read import HeldFile, read_image
from ca_seg.errors import OutOfRange, UnreadableImage, UserError

if TYPE_CHECKING:
    import torch

ANY = "*"
CHUNK = 1 << 20
LOCAL_FILES = "/data/local-files/"
UNQUOTED = "%/:=&?~#+!$,;'@()*[]"  # characters of an address that stay as they are
SHOWN = 120  # characters of an address in messages


@dataclass(frozen=True)
class ImageSource:
    """Opens the images that tasks name.

    Args:
        root: the folder of local images; nothing outside it is read. None: no local images
        host: the address of the annotation server, such as http://localhost:8080; "": none
        token: that server's access token; sent to no other server
        servers: names of further servers that images may come from, such as images.example; "*": any
        max_bytes: of an image file
        timeout: seconds that a server may take

    Raises:
        UserError: for a root that is no folder, and for a host that is no http address
        OutOfRange: for a limit that is not above 0
    """

    root: Path | None = None
    host: str = ""
    token: str = field(default="", repr=False)
    servers: tuple[str, ...] = ()
    max_bytes: int = 64 << 20
    timeout: float = 30.0

    def __post_init__(self) -> None:
        if self.root is not None and not self.root.is_dir():
            raise UserError(f"the folder of images {self.root} is no folder", fix="give the folder that holds them")
        if self.host and (urlsplit(self.host).scheme not in ("http", "https") or not urlsplit(self.host).hostname):
            raise UserError(f"the host is {self.host!r}", allowed="an address such as http://localhost:8080")
        if self.max_bytes <= 0 or self.timeout <= 0:
            raise OutOfRange(f"{self.max_bytes} bytes and {self.timeout} seconds", allowed="above 0")

    def open(self, address: str) -> NamedImage:
        """The image at an address, fetched but not yet decoded.

        Its name, which decides its noise, is that of its file without the ending, as in `ca_seg.segment`; of an image
        in the address itself it is "image".

        Raises:
            UnreadableImage: for an image that is missing, too large, or not sent in time
            UserError: for an address that may not be read
        """
        if not isinstance(address, str) or not address.strip():
            raise UserError(
                f"the image's address is {address!r:.{SHOWN}}", allowed="a path, a web address or a data URI"
            )
        if address.startswith("data:"):
            return self._held("image", "the data URI", self._from_data(address))
        try:
            parts = urlsplit(address)
        except ValueError as problem:
            raise UserError(f"the image's address is {address!r:.{SHOWN}} ({problem})") from problem
        local = parse_qs(parts.query).get("d") if parts.path.endswith(LOCAL_FILES) else None
        if local is not None and self.root is not None and (not parts.netloc or self._is_host(parts.netloc)):
            return self._from_folder(self.root / local[0].lstrip("/"))
        if parts.scheme in ("http", "https"):
            return self._from_server(address)
        if parts.scheme and not Path(address).is_absolute():
            raise UserError(
                f"the image {address:.{SHOWN}} is in a storage that is not read",
                allowed="web addresses, local files and data URIs",
                fix="let the annotation tool give pre-signed web addresses, and name the storage's server",
            )
        if address.startswith("/data/") and self.host:
            return self._from_server(urljoin(self.host, address))
        if self.root is None:
            raise UserError(f"the image {address:.{SHOWN}} is a local file, and no folder of images was given")
        return self._from_folder(self.root / address)

    def _from_folder(self, path: Path) -> NamedImage:
        assert self.root is not None
        try:
            real = path.resolve()
            if not real.is_relative_to(self.root.resolve()):
                raise UserError(f"{path} is outside the folder of images", allowed=f"files in {self.root}")
            if not real.is_file():
                raise UnreadableImage(f"{path} is missing")
            size = real.stat().st_size
        except (OSError, ValueError, RuntimeError) as problem:  # a name that is too long, a zero byte, a loop of links
            if isinstance(problem, UserError):
                raise
            raise UnreadableImage(f"{str(path)!r:.{SHOWN}} cannot be read ({problem})") from problem
        self._check_size(size, str(path))
        return NamedImage(path.stem, path, partial(read_image, real))

    def _from_data(self, address: str) -> bytes:
        head, comma, content = address.partition(",")
        self._check_size(len(content) * 3 // 4, "the data URI")
        try:
            if head.endswith(";base64"):
                return base64.b64decode(unquote_to_bytes(content), validate=True)
        except binascii.Error as problem:
            raise UnreadableImage(f"the data URI is broken ({problem})") from problem
        if not comma:
            raise UnreadableImage("the data URI has no comma", allowed="data:image/png;base64,...")
        return unquote_to_bytes(content)

    def _from_server(self, address: str) -> NamedImage:
        self._check_server(address)
        request = urllib.request.Request(quote(address, safe=UNQUOTED))
        if self.token and self._is_host(urlsplit(address).netloc):
            # "unredirected": a server to which this one redirects does not get the token
            request.add_unredirected_header("Authorization", self._authorization())
        content = self._fetch(request, address)
        stem = Path(urlsplit(address).path).stem
        return self._held(stem or "image", f"{address:.{SHOWN}}", content)

    def _fetch(self, request: urllib.request.Request, name: str) -> bytes:
        opener = urllib.request.build_opener(_Redirects(self))
        end = time.monotonic() + self.timeout
        try:
            with opener.open(request, timeout=self.timeout) as response:
                self._check_size(int(response.headers.get("Content-Length") or 0), name)
                return self._limited(response, name, end)
        except UserError:
            raise
        except urllib.error.HTTPError as problem:
            fix = "" if problem.code not in (401, 403) else "give the server's access token"
            raise UnreadableImage(
                f"{name:.{SHOWN}} is not given: {problem.code} {problem.reason}", fix=fix
            ) from problem
        except TimeoutError as problem:
            raise UnreadableImage(f"{name:.{SHOWN}} did not come within {self.timeout:g} seconds") from problem
        except (OSError, ValueError, http.client.HTTPException) as problem:
            reason = getattr(problem, "reason", problem)
            raise UnreadableImage(f"{name:.{SHOWN}} cannot be fetched ({reason})") from problem

    def _limited(self, response: http.client.HTTPResponse, name: str, end: float) -> bytes:
        content = bytearray()
        while chunk := response.read1(CHUNK):  # what has come, so that a slow server is noticed
            content += chunk
            self._check_size(len(content), name)
            if time.monotonic() > end:
                raise TimeoutError
        return bytes(content)

    def _authorization(self) -> str:
        """Label Studio has two kinds of tokens: one to be sent as it is, one to be exchanged for one of minutes."""
        if self.token.count(".") != 2:
            return f"Token {self.token}"
        request = urllib.request.Request(
            urljoin(self.host, "/api/token/refresh/"),
            data=json.dumps({"refresh": self.token}).encode(),
            headers={"Content-Type": "application/json"},
        )
        answer = self._fetch(request, "the access token")
        try:
            return f"Bearer {json.loads(answer)['access']}"
        except (ValueError, KeyError, TypeError) as problem:
            raise UnreadableImage(f"{self.host} gives no access token ({problem!r})") from problem

    def _check_server(self, address: str) -> None:
        """Raises UserError for a server that images may not come from."""
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https"):
            raise UserError(f"{address:.{SHOWN}} is no web address")
        if ANY in self.servers or self._is_host(parts.netloc) or {parts.hostname, parts.netloc} & set(self.servers):
            return
        allowed = ", ".join([*([urlsplit(self.host).netloc] if self.host else []), *self.servers]) or "none"
        raise UserError(
            f"images may not come from {parts.hostname}", allowed=allowed, fix="name the server, or '*' for any"
        )

    def _is_host(self, netloc: str) -> bool:
        return bool(self.host) and netloc == urlsplit(self.host).netloc

    def _check_size(self, size: int, name: str) -> None:
        if size > self.max_bytes:
            raise UnreadableImage(f"{name:.{SHOWN}} is larger than {self.max_bytes} bytes", fix="raise the limit")

    @staticmethod
    def _held(image_id: str, name: str, content: bytes) -> NamedImage:
        return NamedImage(image_id, None, partial(_read_held, content, name))


def _read_held(content: bytes, name: str) -> torch.Tensor:
    return read_image(HeldFile(content, name))


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a server only to servers that images may come from."""

    def __init__(self, source: ImageSource) -> None:
        self.source = source

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        self.source._check_server(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)
