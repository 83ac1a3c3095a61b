"""The web addresses of a machine learning backend, as Label Studio calls them.

    GET  /health     is it there?
    POST /setup      a project was connected: can it be predicted?
    POST /predict    predictions for tasks, and answers to interactive questions
    POST /webhook    an annotation was saved: nothing is learned from it

What a user can correct is answered with status 400 and one line, never with a stack trace. Label Studio shows of such
an answer only the reason in its status line, so the line stands there too.
"""

from __future__ import annotations

import logging
from typing import Any

from ca_seg.annotation.label_studio.backend import LabelStudioBackend
from ca_seg.errors import UserError
from ca_seg.optional import optional_imports

with optional_imports("the Label Studio backend"):
    from flask import Flask, Response, jsonify, request
    from werkzeug.exceptions import HTTPException

MAX_REQUEST = 256 << 20  # bytes
MAX_REASON = 500  # characters of a status line
logger = logging.getLogger(__name__)


def create_app(backend: LabelStudioBackend) -> Flask:
    """A WSGI application, for `ca-seg serve` or for a web server of your own.

    Args:
        backend: gives the answers

    Example:
        >>> create_app(LabelStudioBackend(WordMasks(), ImageSource())).test_client().get("/health").json["status"]
        'UP'
    """
    app = Flask("ca_seg")
    app.config["MAX_CONTENT_LENGTH"] = MAX_REQUEST

    @app.get("/")
    @app.get("/health")
    def health() -> dict[str, Any]:
        return {"status": "UP", "model_class": backend.name}

    @app.post("/setup")
    def setup() -> dict[str, Any]:
        content = _content()
        if not content.get("schema"):  # a project without a labelling interface yet
            return {"model_version": backend.name}
        return {"model_version": backend.model_version(backend.check(_text(content, "schema")))}

    @app.post("/predict")
    def predict() -> dict[str, Any]:
        content = _content()
        tasks = content.get("tasks")
        if not isinstance(tasks, list):
            raise UserError("the request has no list of tasks")
        parameters = content.get("params") or {}
        context = parameters.get("context") if isinstance(parameters, dict) else None
        return {"results": backend.predict(tasks, _text(content, "label_config"), context)}

    @app.post("/webhook")
    def webhook() -> tuple[dict[str, Any], int]:
        return {"status": "nothing is learned from annotations"}, 201

    @app.errorhandler(UserError)
    def refuse(problem: UserError) -> Response:
        logger.warning("%s", problem)
        return _refused(400, str(problem))

    @app.errorhandler(HTTPException)
    def no_such_request(problem: HTTPException) -> Response:
        return _refused(problem.code or 500, problem.description or "")

    @app.errorhandler(Exception)
    def fail(problem: Exception) -> Response:
        logger.exception("a request failed")
        return _refused(500, f"{type(problem).__name__}; the backend's log has more")

    return app


def _refused(status: int, text: str) -> Response:
    response = jsonify({"error": text, "detail": text, "status": status})
    line = " ".join(text.split())[:MAX_REASON]
    response.status = f"{status} {line.encode('ascii', 'replace').decode()}"
    return response


def _content() -> dict[str, Any]:
    content = request.get_json(silent=True)
    if not isinstance(content, dict):
        raise UserError("the request is no JSON object")
    return content


def _text(content: dict[str, Any], name: str) -> str:
    value = content.get(name)
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"the request has no {name}", fix="set up the project's labelling interface")
    return value
