"""Hooks for what schemathesis cannot know from the document, so that valid requests can succeed: a video must be a real
one, and an analysis must exist. check_openapi.py names this file in SCHEMATHESIS_HOOKS and sets the variables."""

import itertools
import os
from pathlib import Path

import schemathesis
from hypothesis import strategies
from schemathesis.core.failures import AcceptedNegativeData
from schemathesis.openapi.checks import EnsureResourceAvailability
from schemathesis.transport.serialization import Binary

VIDEO = Binary(Path(os.environ["DEEPSIGHT_CHECK_VIDEO"]).read_bytes())
ANALYSIS = os.environ["DEEPSIGHT_CHECK_ANALYSIS"]
KEY = os.environ["DEEPSIGHT_CHECK_KEY"]
ADDRESS = os.environ["DEEPSIGHT_CHECK_ADDRESS"]
COUNT = itertools.count()
# Requests whose body was replaced: schemathesis treats bytes of a hook as a violation of the schema.
REPLACED: set[str] = set()

schemathesis.openapi.format("binary", strategies.just(VIDEO))


# The schema of the answer is that of bytes, or of the whole stream. check_openapi.py checks single events.
@schemathesis.deserializer("image/jpeg", "video/mp4", "text/event-stream")
def as_string(_context, response):
    return response.content.decode("latin-1")


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """Drops false failures: a new analysis has no pictures yet; and those of REPLACED."""
    is_picture = "/faces/" in case.operation.path or "/frames/" in case.operation.path
    if isinstance(failure, EnsureResourceAvailability) and is_picture:
        return False
    return not (isinstance(failure, AcceptedNegativeData) and case.id in REPLACED)


@schemathesis.hook
def before_call(context, case, kwargs):
    """Changes a valid request so that it can succeed. Invalid requests stay unchanged."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    match case.method.upper(), case.operation.path:
        case "POST", "/predict" | "/v1/analyses":
            good_upload(case)
        case "POST", "/v1/analyses/fetch":
            case.body = {"url": ADDRESS}
            if case.headers.get("Idempotency-Key"):
                case.headers["Idempotency-Key"] = f"key-{next(COUNT)}"
            good_settings(case)
        case "POST", "/v1/analyses/{id}/again":
            good_settings(case)
        case "PUT", "/v1/analyses/{id}/remarks":
            # The schema does not state the characters of a tag.
            case.body = {"label": "fake", "tags": ["one"], "note": "seen"}
        case "POST", "/v1/analyses/{id}/shares":
            # Links to an analysis are limited in number.
            case.path_parameters["id"] = ANALYSIS if next(COUNT) % 40 == 0 else "0" * 32
        case "POST", "/v1/keys":
            case.body = {"name": f"made-{next(COUNT)}"}
        case "POST", "/v1/session":
            case.body = {"api_key": KEY}
        case "GET", path if "{id}" in path and case.meta.phase.name != "stateful":
            good_address(case)


def good_upload(case):
    # The strategy above does not make examples and boundary values. (With `==`, all
    # bytes of schemathesis are equal.)
    video = case.body.get("video") if isinstance(case.body, dict) else None
    if getattr(video, "data", None) != VIDEO.data:
        case.body = {"video": VIDEO}
        REPLACED.add(case.id)
    good_settings(case)
    # The server correctly refuses the same key with other settings.
    if case.headers.get("Idempotency-Key"):
        case.headers["Idempotency-Key"] = f"key-{next(COUNT)}"


def good_settings(case):
    # OpenAPI cannot express "one of the two".
    if "frames" in case.query:
        case.query.pop("fps", None)
    # Only hosts of the server's flags are accepted; webhooks have their own tests.
    case.query.pop("webhook", None)


def good_address(case):
    """Makes every second request for the existing analysis and its first face. In stateful runs, schemathesis also
    finds analyses itself, and removes them."""
    if next(COUNT) % 2:
        case.path_parameters["id"] = ANALYSIS
        case.path_parameters.update({name: 0 for name in ("frame", "face", "index") if name in case.path_parameters})
