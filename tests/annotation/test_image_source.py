"""Images are read from the folder and the servers that are named, and from nowhere else."""

from __future__ import annotations

import base64
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ca_seg.annotation.image_source import ImageSource
from ca_seg.data.read import read_image
from ca_seg.errors import OutOfRange, UnreadableImage, UserError


@pytest.fixture(scope="module")
def server(folder):
    """A server of the folder's files that notes what it was asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, self.headers.get("Authorization")))
            if self.path == "/slow.jpg":
                time.sleep(1)
            if self.path == "/drops.jpg":  # a few bytes at a time, without end
                self.send_response(200)
                self.end_headers()
                for _ in range(20):
                    time.sleep(0.05)
                    self.wfile.write(b"x")
                return
            if self.path.startswith("/to/"):
                self.send_response(302)
                self.send_header("Location", self.path.removeprefix("/to/"))
                self.end_headers()
                return
            content = (folder / "a.jpg").read_bytes()
            if self.path == "/missing.jpg":
                self.send_response(404)
            else:
                self.send_response(200)
            if self.path != "/endless.jpg":
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self):
            asked.append((self.path, self.rfile.read(int(self.headers["Content-Length"])).decode()))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"access": "minutes"}')

        def log_message(self, *arguments):
            pass

    asked: list = []
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{http.server_port}", asked
    http.shutdown()
    http.server_close()


LOCAL = [
    "/data/local-files/?d=dogs/b%20c.png",
    "dogs/b c.png",
    "http://localhost:8080/data/local-files/?d=dogs/b%20c.png",
]


@pytest.mark.parametrize("address", LOCAL)
def test_local_files_are_read_below_the_root(folder, address):
    source = ImageSource(root=folder, host="http://localhost:8080")
    image = source.open(address)
    assert image.image_id == "b c"
    assert (image.pixels == read_image(folder / "dogs" / "b c.png")).all()
    assert source.open(str(folder / "a.jpg")).pixels.shape == (3, 110, 150)


def test_nothing_outside_the_root_is_read(folder, tmp_path):
    secret = tmp_path / "secret.png"
    secret.write_bytes((folder / "a.jpg").read_bytes())
    root = tmp_path / "root"
    root.mkdir()
    (root / "link.png").symlink_to(secret)
    source = ImageSource(root=root)
    for address in ("../secret.png", str(secret), "/data/local-files/?d=../secret.png", "/data/local-files/?d=link.png",
                    "/data/local-files/?d=/../secret.png", "file://" + str(secret), "a/../../secret.png"):  # fmt: skip
        with pytest.raises(UserError):
            source.open(address)
    with pytest.raises(UserError, match="no folder of images"):
        ImageSource().open(str(secret))


@pytest.mark.parametrize(
    "address", ["", " ", None, 3, "nothing.png", "a\0b.png", "x" * 5000, "s3://bucket/a.jpg", "http://[a"]
)
def test_bad_addresses_are_one_error(folder, address):
    with pytest.raises(UserError):
        ImageSource(root=folder).open(address)


def test_data_uris(folder):
    content = (folder / "a.jpg").read_bytes()
    text = base64.b64encode(content).decode()
    image = ImageSource().open(f"data:image/jpeg;base64,{text}")
    assert image.image_id == "image"
    assert (image.pixels == read_image(folder / "a.jpg")).all()
    for broken in ("data:image/png;base64,@@@", "data:image/png", f"data:image/jpeg;base64,{text[:400]}"):
        with pytest.raises(UnreadableImage):
            ImageSource().open(broken).pixels  # noqa: B018
    with pytest.raises(UnreadableImage, match="larger"):
        ImageSource(max_bytes=len(content) - 3).open(f"data:image/jpeg;base64,{text}")


def test_the_token_goes_to_the_host_only(folder, server):
    address, asked = server
    source = ImageSource(host=address, token="secret", servers=("localhost",))
    assert (source.open("/data/upload/3/a.jpg").pixels == read_image(folder / "a.jpg")).all()
    assert asked[-1] == ("/data/upload/3/a.jpg", "Token secret")
    other = address.replace("127.0.0.1", "localhost")
    source.open(f"{other}/a.jpg")
    assert asked[-1] == ("/a.jpg", None)
    source.open(f"{address}/to/{other}/b.jpg")
    assert asked[-1] == ("/b.jpg", None)
    ImageSource(host=address, token="long.lived.token").open(f"{address}/a.jpg")
    assert asked[-2:] == [("/api/token/refresh/", '{"refresh": "long.lived.token"}'), ("/a.jpg", "Bearer minutes")]
    assert "secret" not in repr(source)


def test_other_servers_are_refused_also_by_redirects(server):
    address, asked = server
    before = len(asked)
    other = address.replace("127.0.0.1", "localhost")
    with pytest.raises(UserError, match="may not come from localhost"):
        ImageSource(host=address).open(f"{other}/a.jpg")
    assert len(asked) == before
    for target in (f"{other}/a.jpg", "file:///etc/hostname"):
        with pytest.raises(UserError):
            ImageSource(host=address).open(f"{address}/to/{target}")
    assert [path for path, _ in asked[before:]] == [f"/to/{other}/a.jpg", "/to/file:///etc/hostname"]
    assert ImageSource(servers=("*",)).open(f"{other}/a.jpg").pixels.shape == (3, 110, 150)


def test_what_a_server_does_not_give_is_one_error(folder, server):
    address, _ = server
    size = (folder / "a.jpg").stat().st_size
    for path, source in {
        "/missing.jpg": ImageSource(host=address),
        "/slow.jpg": ImageSource(host=address, timeout=0.1),
        "/drops.jpg": ImageSource(host=address, timeout=0.2),
        "/a.jpg": ImageSource(host=address, max_bytes=size - 1),
        "/endless.jpg": ImageSource(host=address, max_bytes=size - 1),
    }.items():
        with pytest.raises(UnreadableImage):
            source.open(address + path)
    assert ImageSource(host=address).open(f"{address}/a b.jpg").image_id == "a b"
    with pytest.raises(UnreadableImage):
        ImageSource(host="http://127.0.0.1:9").open("http://127.0.0.1:9/a.jpg")


def test_settings_are_checked(folder):
    with pytest.raises(UserError):
        ImageSource(root=folder / "a.jpg")
    with pytest.raises(UserError):
        ImageSource(host="localhost:8080")
    with pytest.raises(OutOfRange):
        ImageSource(max_bytes=0)
