"""`ca-seg serve label-studio`: a machine learning backend that annotation tools ask over HTTP."""

from __future__ import annotations

from collections.abc import Sequence

from ca_seg.annotation.label_studio.serve import LabelStudioSettings, serve_label_studio
from ca_seg.cli.parser import JobParser
from ca_seg.cli.stopping import when_stopped
from ca_seg.errors import UnknownName, UserError

TOOLS = ("label-studio",)
DESCRIPTION = (
    "Answer an annotation tool: ca-seg serve label-studio. The labels of a project become masks by words; connect the "
    "printed address under Settings, Model. The access token is read from LABEL_STUDIO_API_KEY."
)


def run(arguments: Sequence[str]) -> int:
    """0 once it is checked; a server runs until it is interrupted."""
    parser = JobParser("ca-seg serve", DESCRIPTION, LabelStudioSettings)
    settings, tools = parser.parse_with_positional(arguments)
    if len(tools) != 1:
        raise UserError(f"{len(tools)} tools", allowed="one", fix="an example: ca-seg serve label-studio --port 9090")
    if tools[0] not in TOOLS:
        raise UnknownName("tool", tools[0], TOOLS, fix="docs/labelling_tools.md has the others")
    with when_stopped(lambda: "no request is answered any more; nothing was kept"):
        serve_label_studio(settings, say=_say)
    return 0


def _say(text: str) -> None:
    print(text, flush=True)
