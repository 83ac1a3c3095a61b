"""No test asks the hub: where a test does not say otherwise, it answers."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def hub_that_answers(monkeypatch):
    monkeypatch.setattr("ca_seg.methods.weights.hub_answers", lambda: True)
