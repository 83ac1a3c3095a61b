"""Damage to images, tar files and safetensors: their headers, chunks and members."""

from __future__ import annotations

import io
import random
import struct
import tarfile
import zlib

from tests.fuzz.damage_bytes import OUTSIDE, Damage, in_bytes
from tests.fuzz.damage_texts import in_json


def in_image(content: bytes, rng: random.Random) -> Damage:
    if content[:4] == b"\x89PNG" and rng.random() < 0.7:
        return _png(content, rng)
    if content[:2] == b"\xff\xd8" and rng.random() < 0.5:
        places = [i for i in range(len(content) - 9) if content[i] == 0xFF and 0xC0 <= content[i + 1] <= 0xEF]
        place = rng.choice(places)
        data = bytearray(content)
        data[place + rng.randrange(1, 10)] = rng.choice((0, 1, 2, 255, 127))
        return bytes(data), f"marker at {place}"
    return in_bytes(content, rng)


def _png(content: bytes, rng: random.Random) -> Damage:
    """A chunk changed, with a right checksum."""
    chunks, at = [], 8
    while at + 8 <= len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    place, way = rng.randrange(len(chunks)), rng.random()
    if way < 0.4:
        head = bytearray(chunks[0][1])
        field = rng.choice(((0, 4), (4, 4), (8, 1), (9, 1), (12, 1)))
        number = rng.choice((0, 1, 2, 3, 4, 6, 8, 16, 7, 13, 255, 2000, 20_000, 2**31 - 1))
        head[field[0] : field[0] + field[1]] = (number % 256 ** field[1]).to_bytes(field[1], "big")
        chunks[0], what = (chunks[0][0], bytes(head)), f"IHDR {field[0]} = {number}"
    elif way < 0.55:
        chunks.insert(place, chunks[place])
        what = f"{chunks[place][0]!r} twice"
    elif way < 0.65:
        what = f"no {chunks.pop(place)[0]!r}"
    elif way < 0.85:
        name = rng.choice(
            (b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"iCCP", b"gAMA", b"tRNS", b"PLTE", b"acTL", b"fcTL", b"sBIT", b"IEND")
        )
        body = rng.choice(
            (
                b"",
                b"a\0\0" + zlib.compress(bytes(100)),
                b"Raw profile type exif\0\0zz",
                b"Exif\0\0II*\0\xff\xff\xff\xff",
                rng.randbytes(20),
            )
        )
        chunks.insert(min(place + 1, len(chunks)), (name, body))
        what = f"a {name!r}"
    else:
        body, what = in_bytes(chunks[place][1], rng)
        chunks[place] = (chunks[place][0], body)
        what = f"in {chunks[place][0]!r}: {what}"
    parts = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    ]
    return content[:8] + b"".join(parts), what


def in_tar(content: bytes, rng: random.Random) -> Damage:
    """Members added or changed."""
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        members = [(member, tar.extractfile(member).read() if member.isfile() else b"") for member in tar]  # type: ignore[union-attr]
    member, body = rng.choice(members)
    new = tarfile.TarInfo(member.name)
    new.size = member.size
    way = rng.randrange(12)
    what = f"way {way}"
    if way == 0:
        new.type, new.linkname, new.size = (
            tarfile.SYMTYPE,
            rng.choice((f"../{OUTSIDE}/by_path.png", "/etc/passwd", member.name)),
            0,
        )
    elif way == 1:
        new.type, new.linkname, new.size = tarfile.LNKTYPE, rng.choice(("../x", member.name)), 0
    elif way == 2:
        new.type, new.size = rng.choice((tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE)), 0
    elif way == 3:
        new.name = rng.choice(
            (
                f"../{OUTSIDE}/new.png",
                f"/tmp/{OUTSIDE}.png",
                "a/../../b.png",
                "./a/./b.png",
                "..png",
                "\\..\\b.png",
                "a//b.png",
            )
        )
    elif way == 4:
        new.name = rng.choice(
            (
                ".png",
                "a.b.png",
                "A.PNG",
                "x" * 300 + ".png",
                "a\nb.png",
                "é.png",
                "a\udcff.png",
                "\x1b[2J.png",
                "a/.png",
                "a b.png",
            )
        )
    elif way == 5:
        pass  # the same member twice
    elif way == 6:
        new.pax_headers = {
            rng.choice(("size", "path", "GNU.sparse.realsize", "GNU.sparse.map")): rng.choice(
                ("-1", "99999999999", "x", "../a.png", "0,9,1")
            )
        }
    elif way == 7:
        new.pax_headers = {
            "GNU.sparse.major": "1",
            "GNU.sparse.minor": "0",
            "GNU.sparse.realsize": "100",
            "GNU.sparse.name": "s.png",
        }
    elif way == 8:
        body, what = in_image(body, rng)
        new.size = len(body)
    elif way == 9:
        new.mtime = rng.choice((-1, 2**40))
    else:
        data = bytearray(content)
        at = 512 * rng.randrange(max(1, len(content) // 512))
        field = rng.choice(((0, 100), (100, 8), (124, 12), (148, 8), (156, 1), (257, 6)))
        data[at + field[0] : at + field[0] + field[1]] = rng.choice((b"\xff", b"7", b"\x80", b" ", b"\0")) * field[1]
        if rng.random() < 0.7:  # with a right checksum
            head = data[at : at + 512]
            head[148:156] = b" " * 8
            data[at + 148 : at + 156] = b"%06o\0 " % sum(head)
        return bytes(data), f"header at {at}, field {field[0]}"
    place = rng.randrange(len(members) + 1)
    members.insert(place, (new, body))
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=rng.choice((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT))) as tar:
        for entry, data_of in members:
            tar.addfile(entry, io.BytesIO(data_of[: entry.size].ljust(entry.size, b"\0")) if entry.size else None)
    return stream.getvalue(), f"{what}: {new.name!r:.40}"


def in_safetensors(content: bytes, rng: random.Random) -> Damage:
    (length,) = struct.unpack("<Q", content[:8])
    header, body = content[8 : 8 + length], content[8 + length :]
    way = rng.random()
    if way < 0.6:
        header, what = in_json(header, rng)
        return struct.pack("<Q", len(header)) + header + body, f"header: {what}"
    if way < 0.7:
        number = rng.choice((0, 1, length - 1, length + 1, len(content), 10**8, 2**62, 2**64 - 1))
        return struct.pack("<Q", number) + content[8:], f"header of {number} bytes"
    if way < 0.85:
        data = bytearray(body)
        for at in range(0, len(data) - 4, 4):
            if rng.random() < 0.5:
                data[at : at + 4] = struct.pack("<f", rng.choice((float("nan"), float("inf"), -1e38, 0.0)))
        return content[: 8 + length] + bytes(data), "numbers of the weights"
    body, what = in_bytes(body, rng)
    return content[: 8 + length] + body, f"weights: {what}"
