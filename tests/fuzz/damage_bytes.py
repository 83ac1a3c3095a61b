"""Damage to the bytes of any file."""

from __future__ import annotations

import os
import pickle
import random
from collections.abc import Callable

Damage = tuple[bytes, str]  # the content, and what was done
OUTSIDE = "outside"  # a folder beside the case's own; nothing named in a file may be read from there
CANARY = "tests.fuzz.canary"  # a module that no reader may import
EDGES = (0, 1, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)


class Runs:
    """What unpickling this would do: write a file beside the case."""

    def __reduce__(self) -> tuple[Callable, tuple]:
        return os.mkdir, (f"../{OUTSIDE}/unpickled",)


def in_bytes(content: bytes, rng: random.Random) -> Damage:
    data, size = bytearray(content), len(content)
    start = rng.randrange(size + 1)
    length = min(rng.choice((1, 2, 4, 8, 64, 1000)), size - start)
    way = rng.randrange(12)
    if way == 0 and size:
        for _ in range(rng.choice((1, 1, 2, 8, 64))):
            data[rng.randrange(size)] ^= 1 << rng.randrange(8)
        return bytes(data), "flipped bits"
    if way == 1:
        return content[:start], f"cut at {start}"
    if way == 2:
        return content[:start] + content[start + length :], f"{length} bytes left out at {start}"
    if way == 3:
        return content[:start] + content[start : start + length] * rng.choice((2, 3, 100)) + content[start:], "repeated"
    if way == 4:
        data[start : start + length] = bytes(length)
        return bytes(data), f"zeros at {start}"
    if way == 5:
        number = rng.choice(EDGES).to_bytes(8, rng.choice(("little", "big")))
        part = number[: rng.choice((1, 2, 4, 8))]
        data[start : start + len(part)] = part
        return bytes(data), f"an edge at {start}"
    if way == 6:
        return content[:start] + rng.randbytes(length) + content[start:], f"noise at {start}"
    if way == 7:
        return content + rng.choice((b"\0" * 64, b"\n", b"}", content, rng.randbytes(64))), "a tail"
    if way == 8:
        text = content.decode("latin-1")
        encoding = rng.choice(("utf-16", "utf-32", "utf-8-sig", "utf-7", "cp037"))
        return text.encode(encoding, "replace"), encoding
    if way == 9:
        return content[:start] + rng.choice((b"\xff\xfe", b"\xc3\x28", b"\x00", b"\x1b[2J", b"\r")) + content[
            start:
        ], "a byte"
    if way == 10:
        return rng.choice(
            (b"", b"\n", b"\0" * 1000, b"null", pickle.dumps(Runs()), b"\x1f\x8b\x08" + content)
        ), "all else"
    return content[start:] + content[:start], f"turned at {start}"
