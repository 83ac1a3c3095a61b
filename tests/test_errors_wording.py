"""The wording of errors, pinned here and in no other test: how the parts are joined, and how names are suggested."""

from __future__ import annotations

import pytest

from ca_seg.errors import UnknownName, UnknownNames, UserError, close_matches

NAMES = [f"name-{number:02}" for number in range(41)]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (UserError("timestep 3"), "timestep 3."),
        (UserError("timestep 3", allowed="0 to 1"), "timestep 3. Allowed: 0 to 1."),
        (UserError("a.png cannot be read", fix="give an image"), "a.png cannot be read. Give an image."),
        (
            UserError("timestep 3", allowed="0 to 1", fix="leave it out for the backbone's own"),
            "timestep 3. Allowed: 0 to 1. Leave it out for the backbone's own.",
        ),
        (UserError("it ends in a stop.", fix="did you mean b?"), "it ends in a stop. Did you mean b?"),
        (UnknownName("word", "zebr", ["cat", "zebra"]), "unknown word 'zebr'. Allowed: did you mean 'zebra'?"),
        (
            UnknownName("backbone", "mini-plan", ["mini", "mini-plain", "flux1-dev"], fix="see `ca-seg zoo list`"),
            "unknown backbone 'mini-plan'. Allowed: did you mean 'mini-plain' or 'mini'? See `ca-seg zoo list`.",
        ),
        (UnknownName("word", "xyzzy", ["cat", "dog"]), "unknown word 'xyzzy'. Allowed: cat, dog."),
        (
            UnknownNames("words", ["zebr", "xyzzy"], ["cat", "zebra"], fix="use nouns"),
            "unknown words 'zebr' (did you mean 'zebra'?), 'xyzzy'. Use nouns.",
        ),
        (UnknownName("word", "xyzzy", NAMES), "unknown word 'xyzzy'. Allowed: one of 41 names."),
    ],
)
def test_a_message_joins_what_is_wrong_what_is_allowed_and_what_to_do(error, message):
    assert str(error) == message


def test_the_parts_of_an_error_stay_readable():
    error = UserError("timestep 3", allowed="0 to 1", fix="leave it out")
    assert (error.what, error.allowed, error.fix) == ("timestep 3", "0 to 1", "leave it out")
    assert isinstance(error, ValueError)


def test_near_names_come_closest_first_and_at_most_three():
    assert UnknownName("word", "Zebr", ["cat", "zebra"]).close_matches == ["zebra"]
    assert UnknownName("word", "xyzzy", ["cat", "zebra"]).close_matches == []
    assert close_matches("mini-plan", ["mini", "flux1-dev", "mini-plain"]) == ["mini-plain", "mini"]
    assert len(close_matches("name-00", NAMES)) == 3
