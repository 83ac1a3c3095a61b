"""Keys: the names of images, which become names of files. Which are refused, and how they are sorted."""

from __future__ import annotations

import unicodedata
from pathlib import PureWindowsPath

from ca_seg.data.image_files import MAX_NAME_BYTES
from ca_seg.errors import UserError

ALLOWED = "names joined by '/', such as 'a/b/0001'"
REFUSED = {"Cc": "a control character", "Cs": "a byte that is not UTF-8", "Zl": "a line break", "Zp": "a line break"}


def check_text(text: str, what: str) -> None:
    """Refuse characters that JSON, XML and text files cannot all hold.

    These are control characters, line breaks, undecodable bytes and code points that are not characters. Spaces, quotes
    and letters of any script are allowed.

    Args:
        text: a name
        what: what it is the name of, for the message

    Raises:
        UserError: naming `what`
    """
    for letter in text:
        code = ord(letter)
        not_a_character = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF
        reason = (
            "a code point that is not a character" if not_a_character else REFUSED.get(unicodedata.category(letter))
        )
        if reason:
            raise UserError(f"{what} {text!r} has {reason}", fix="rename it")


def check_relative(name: str, what: str) -> None:
    """Refuse a name that is not a relative path with "/", inside its folder on every system.

    Raises UserError naming `what` for an absolute path or drive, a part that is empty, `.` or `..`, a backslash, a part
    of more than 240 bytes, and what `check_text` refuses.
    """
    check_text(name, what)
    if "\\" in name or name.startswith("/") or PureWindowsPath(name).drive:
        raise UserError(f"{what} {name!r} is not a relative path", allowed=ALLOWED)
    for part in name.split("/"):
        if part in ("", ".", ".."):
            raise UserError(f"{what} {name!r} has the part {part!r}", allowed=ALLOWED)
        if len(part.encode()) > MAX_NAME_BYTES:
            raise UserError(
                f"{what} {name!r} has a part of {len(part.encode())} bytes", allowed=f"up to {MAX_NAME_BYTES}"
            )


def key_order(key: str) -> list[str]:
    """The sort key of a key: folder by folder, an image before the folder of the same name."""
    return key.split("/")
