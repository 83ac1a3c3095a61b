"""Names of images that become names of files: what is refused, and the order they are merged in."""

from __future__ import annotations

import unicodedata
from pathlib import PureWindowsPath

from ca_seg.errors import UserError

LONGEST = 240  # bytes of one folder or file name: file systems allow 255, and an ending and ".part" come behind
ALLOWED = "names joined by '/', such as 'a/b/0001'"
REFUSED = {"Cc": "a control character", "Cs": "a byte that is not UTF-8", "Zl": "a line break", "Zp": "a line break"}


def check_text(text: str, what: str) -> None:
    """Raises UserError naming `what` for characters that JSON, XML and text files cannot all hold.

    These are control characters, line breaks, undecodable bytes and code points that are no characters. Spaces, quotes
    and letters of any script are fine.
    """
    for letter in text:
        code = ord(letter)
        no_character = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF
        reason = "a code point that is no character" if no_character else REFUSED.get(unicodedata.category(letter))
        if reason:
            raise UserError(f"{what} {text!r} has {reason}", fix="rename it")


def check_relative(name: str, what: str) -> None:
    """A relative path with "/" that stays in its folder on every system.

    Raises UserError naming `what` for an absolute path or drive, `..`, `.` or an empty part, a backslash, a part of
    more than 240 bytes, and what `check_text` refuses.
    """
    check_text(name, what)
    if "\\" in name or name.startswith("/") or PureWindowsPath(name).drive:
        raise UserError(f"{what} {name!r} is no relative path", allowed=ALLOWED)
    for part in name.split("/"):
        if part in ("", ".", ".."):
            raise UserError(f"{what} {name!r} has the part {part!r}", allowed=ALLOWED)
        if len(part.encode()) > LONGEST:
            raise UserError(f"{what} {name!r} has a part of {len(part.encode())} bytes", allowed=f"up to {LONGEST}")


def key_order(key: str) -> list[str]:
    """What keys are sorted by: folder by folder, an image before the folder of its own name."""
    return key.split("/")
