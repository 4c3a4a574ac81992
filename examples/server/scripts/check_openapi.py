"""The checks that check-openapi.sh runs, with the libraries that it installs."""

import functools
import hashlib
import http.server
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import quote

import jsonschema
import referencing
import requests
from openapi_spec_validator import validate as validate_document
from server import CLIP, Server, find_binary

DOCUMENT = "urn:deepsight:openapi"
SCRIPTS = Path(__file__).parent
FETCHER = SCRIPTS.parent / "tests" / "api" / "fake_fetcher.py"
# Number of requests that schemathesis generates, for each operation and phase.
REQUESTS = 25
# Longest wait for the server in seconds.
PATIENCE = 60


class Contract:
    """The document, and the answers that do not match it."""

    def __init__(self, address: str, key: str):
        self.address, self.key = address, key
        self.document = requests.get(f"{address}/openapi.json", timeout=PATIENCE).json()
        resource = referencing.jsonschema.DRAFT202012.create_resource(strict(self.document))
        self.registry = referencing.Registry().with_resource(DOCUMENT, resource)
        self.findings: list[str] = []
        self.checked = 0

    def find(self, finding: str) -> None:
        self.findings.append(finding)
        print(f"FINDING: {finding}", file=sys.stderr)

    def fits(self, value: object, pointer: str, what: str) -> None:
        """Checks a value against the document's schema at `pointer`."""
        validator = jsonschema.Draft202012Validator(
            {"$ref": f"{DOCUMENT}#{quote(pointer)}"},
            registry=self.registry,
            format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER,
        )
        for error in validator.iter_errors(value):
            self.find(f"{what}: {error.json_path}: {shortened(error.message)}")
        self.checked += 1

    def call(self, method: str, path: str, expect: int, signed_in: bool = True, **more) -> requests.Response:
        """Sends a request for `path`, a template filled from `at`. The answer must have status `expect` and match."""
        target = path.format(**more.pop("at", {}))
        headers = more.pop("headers", {}) | ({"Authorization": f"Bearer {self.key}"} if signed_in else {})
        response = requests.request(method, self.address + target, headers=headers, timeout=PATIENCE, **more)
        what = f"{method} {response.request.path_url}: {response.status_code}"
        if response.status_code != expect:
            self.find(f"{what} instead of {expect}: {response.text[:300]}")
        self.documented(method, path, response, what)
        return response

    def documented(self, method: str, path: str, response: requests.Response, what: str) -> None:
        operation = self.document["paths"][path][method.lower()]
        status = str(response.status_code)
        if status not in operation["responses"]:
            return self.find(f"{what}: the status is not documented")
        documented = operation["responses"][status]
        for name in documented.get("headers", {}):
            if name not in response.headers:
                self.find(f"{what}: no header {name}")
        content = documented.get("content", {})
        kind = response.headers.get("Content-Type", "").partition(";")[0]
        if kind not in content:
            if content or response.content:
                self.find(f"{what}: Content-Type is {kind!r}, documented is {list(content)}")
            return None
        steps = ["paths", path, method.lower(), "responses", status, "content", kind, "schema"]
        # A schema treats bytes as a string.
        value = response.json() if kind.endswith("json") else response.content.decode("latin-1")
        return self.fits(value, "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps), what)


def shortened(message: str) -> str:
    """Shortens a message in the middle. It begins with the value, which may be a picture, and ends with the error."""
    return message if len(message) < 300 else f"{message[:100]!r} … {message[-150:]}"


def strict(document: dict) -> dict:
    """Returns the document with closed objects, so that a member that it does not name is also a finding."""
    copy = json.loads(json.dumps(document))
    close(copy)
    return copy


def close(node: object) -> None:
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else []:
        close(child)
    if isinstance(node, dict) and node.get("type") == "object" and "properties" in node:
        node.setdefault("additionalProperties", False)


def video(path: Path) -> dict:
    return {"video": (path.name, path.read_bytes())}


def check_service(contract: Contract) -> None:
    for path in ("/health/live", "/health/ready", "/v1/server"):
        contract.call("GET", path, 200, signed_in=False)
    for path in ("/v1/model", "/metrics"):
        contract.call("GET", path, 200)


def check_sessions(contract: Contract) -> None:
    contract.call("POST", "/v1/session", 401, signed_in=False, json={"api_key": "ds_none"})
    signed = contract.call("POST", "/v1/session", 204, signed_in=False, json={"api_key": contract.key})
    contract.call("GET", "/v1/model", 200, signed_in=False, cookies=signed.cookies)
    contract.call("DELETE", "/v1/session", 204, signed_in=False, cookies=signed.cookies)
    contract.call("GET", "/v1/model", 401, signed_in=False, cookies=signed.cookies)


def check_keys(contract: Contract) -> None:
    """Checks that each operation is refused without a key, unless the document says that it needs none."""
    for path, operations in contract.document["paths"].items():
        for method, operation in operations.items():
            if operation.get("security") != [{}]:
                at = {"id": "0" * 32, "frame": 0, "face": 0, "index": 0, "share": "0" * 32, "name": "nobody"}
                contract.call(method.upper(), path, 401, signed_in=False, at=at)


def check_admin(contract: Contract) -> None:
    """Checks keys that an admin makes and revokes, and the comparison of judgments with verdicts."""
    made = contract.call("POST", "/v1/keys", 201, json={"name": "made"}).json()
    contract.call("GET", "/v1/keys", 403, signed_in=False, headers={"X-API-Key": made["api_key"]})
    contract.call("POST", "/v1/keys", 409, json={"name": "made", "admin": True})
    contract.call("POST", "/v1/keys", 400, json={"name": "two words"})
    contract.call("POST", "/v1/keys", 422, json={"nam": "made"})
    contract.call("GET", "/v1/keys", 200)
    contract.call("DELETE", "/v1/keys/{name}", 204, at={"name": "made"})
    contract.call("DELETE", "/v1/keys/{name}", 404, at={"name": "made"})
    contract.call("DELETE", "/v1/keys/{name}", 409, at={"name": "check"})
    contract.call("GET", "/v1/accuracy", 200)


def check_shares(contract: Contract, at: dict) -> None:
    path = "/v1/analyses/{id}/shares"
    made = contract.call("POST", path, 201, at=at, json={"days": 1}).json()
    contract.call("POST", path, 400, at=at, json={"days": 0})
    contract.call("POST", path, 422, at=at, json={"day": 1})
    contract.call("GET", path, 200, at=at)
    contract.call("DELETE", path + "/{share}", 204, at=at | {"share": made["id"]})
    contract.call("DELETE", path + "/{share}", 404, at=at | {"share": made["id"]})


def check_fetch(contract: Contract, site: str) -> None:
    path = "/v1/analyses/fetch"
    sent = contract.call("POST", path, 202, json={"url": f"{site}/{CLIP.name}"}, params={"frames": 3}).json()
    analysis = finished(contract, sent["id"])
    if analysis["status"] != "done":
        contract.find(f"POST {path}: {analysis['problem']}")
    # Otherwise the other checks would find it as an earlier analysis of the clip.
    contract.call("DELETE", "/v1/analyses/{id}", 204, at={"id": sent["id"]})
    contract.call("POST", path, 400, json={"url": "--exec"})
    contract.call("POST", path, 403, json={"url": "https://unknown.example/"})
    contract.call("POST", path, 422, json={"address": site})


def check_predict(contract: Contract) -> None:
    brief = contract.call("POST", "/predict", 200, files=video(CLIP), params={"frames": 5}).json()
    if "report" in brief:
        contract.find("POST /predict: a report though nobody asked for it")
    full = contract.call("POST", "/predict", 200, files=video(CLIP), params={"full": "true"}).json()
    if not full.get("report", {}).get("tracks"):
        contract.find("POST /predict?full=true: no report, or nobody in it")
    for difference in differences(full["average_fake_probability"], full["report"]["fake_probability"]):
        contract.find(f"POST /predict?full=true: the probability is not that of the report: {difference}")


def check_refusals(contract: Contract, nothing: Path) -> None:
    for path in ("/predict", "/v1/analyses"):
        contract.call("POST", path, 400, files=video(CLIP), params={"frames": 0})
        contract.call("POST", path, 400, files=video(CLIP), params={"treshold": 0.5})
        contract.call("POST", path, 400, files={"clip": CLIP.read_bytes()})
        contract.call("POST", path, 415, data=b"no form")
        contract.call("POST", path, 415, files=video(Path(__file__)))
        contract.call("POST", path, 415, files=video(nothing))
        contract.call("POST", path, 413, files={"video": bytes(4_000_000)})
    contract.call("GET", "/v1/analyses", 400, params={"limit": 0})
    contract.call("GET", "/v1/analyses.csv", 400, params={"verdict": "real"})
    nobody = {"id": "0" * 32, "frame": 0, "face": 0, "index": 0}
    for path, operations in contract.document["paths"].items():
        if "{id}" in path and "get" in operations:
            contract.call("GET", path, 404, at=nobody)
    contract.call("POST", "/v1/analyses/{id}/again", 404, at=nobody)
    contract.call("POST", "/v1/analyses/{id}/shares", 404, at=nobody, json={})
    contract.call("PUT", "/v1/analyses/{id}/remarks", 404, at=nobody, json={})
    contract.call("DELETE", "/v1/analyses/{id}", 404, at={"id": "0" * 32})


def send(contract: Contract, clip: Path, **settings) -> str:
    """Sends a video to be analysed, and returns the id of the analysis."""
    response = contract.call("POST", "/v1/analyses", 202, files=video(clip), params=settings)
    location, identity = response.headers.get("Location"), response.json()["id"]
    if location != f"/v1/analyses/{identity}":
        contract.find(f"POST /v1/analyses: Location is {location!r} for {identity}")
    return identity


def finished(contract: Contract, identity: str) -> dict:
    """Waits for the end of an analysis, and checks each of its states."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        analysis = contract.call("GET", "/v1/analyses/{id}", 200, at={"id": identity}).json()
        if analysis["status"] in ("done", "failed"):
            return analysis
        time.sleep(0.1)
    raise SystemExit(f"an analysis has not ended after {PATIENCE} s: {analysis}")


def check_analysis(contract: Contract) -> None:
    """Checks a real video from its upload to its removal."""
    at = {"id": send(contract, CLIP, frames=180)}
    # It takes seconds.
    contract.call("GET", "/v1/analyses/{id}/report.json", 409, at=at)
    contract.call("GET", "/v1/analyses/{id}/report.html", 409, at=at)
    check_events(contract, at)
    analysis = finished(contract, at["id"])
    report = contract.call("GET", "/v1/analyses/{id}/report.json", 200, at=at).json()
    for difference in differences(analysis.get("report"), report):
        contract.find(f"GET /v1/analyses/{{id}}: its report is not that of report.json: {difference}")
    contract.call("GET", "/v1/analyses/{id}/report.html", 200, at=at)
    listed = contract.call("GET", "/v1/analyses", 200, params={"limit": 1}).json()
    if [item["id"] for item in listed["items"]] != [at["id"]]:
        contract.find(f"GET /v1/analyses?limit=1: not the newest: {listed}")
    check_pictures(contract, at, report)
    check_desk(contract, at)
    check_shares(contract, at)
    contract.call("DELETE", "/v1/analyses/{id}", 204, at=at)
    contract.call("GET", "/v1/analyses/{id}", 404, at=at)


def differences(one: object, other: object, path: str = "$") -> list[str]:
    """Returns the paths at which two values differ."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return [found for name in one for found in differences(one[name], other[name], f"{path}.{name}")]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [
            found for place, value in enumerate(one) for found in differences(value, other[place], f"{path}[{place}]")
        ]
    return [] if one == other else [f"{path}: {one!r} and {other!r}"]


def check_pictures(contract: Contract, at: dict, report: dict) -> None:
    contract.call("GET", "/v1/analyses/{id}/video", 200, at=at)
    contract.call("GET", "/v1/analyses/{id}/video", 206, at=at, headers={"Range": "bytes=0-99"})
    contract.call("GET", "/v1/analyses/{id}/video", 416, at=at, headers={"Range": "bytes=999999999-"})
    frame = next(
        frame for frame in report["frames"] if any(face["fake_probability"] is not None for face in frame["faces"])
    )
    face = next(place for place, face in enumerate(frame["faces"]) if face["fake_probability"] is not None)
    at = at | {"frame": frame["index"], "face": face, "index": frame["index"]}
    contract.call("GET", "/v1/analyses/{id}/frames/{index}", 200, at=at)
    contract.call("GET", "/v1/analyses/{id}/frames/{index}", 404, at=at | {"index": 99999})
    contract.call("GET", "/v1/analyses/{id}/frames/{index}", 400, at=at | {"index": "first"})
    contract.call("GET", "/v1/analyses/{id}/faces/{frame}/{face}", 200, at=at)
    contract.call("GET", "/v1/analyses/{id}/faces/{frame}/{face}/activation", 200, at=at)


def check_desk(contract: Contract, at: dict) -> None:
    """Checks remarks, exports, and files that were analysed before."""
    path = "/v1/analyses/{id}/remarks"
    contract.call("PUT", path, 200, at=at, json={"label": "fake", "tags": ["one", "two"], "note": "seen"})
    contract.call("PUT", path, 400, at=at, json={"tags": ["a,b"]})
    contract.call("PUT", path, 422, at=at, json={"verdict": "FAKE"})
    for path in ("/v1/analyses", "/v1/analyses.json"):
        listed = contract.call("GET", path, 200, params={"tag": "two", "label": "fake"}).json()
        if [item["id"] for item in listed["items"]] != [at["id"]]:
            contract.find(f"GET {path}: not the analysis with the tag: {listed}")
    contract.call("GET", "/v1/analyses.csv", 200, params={"search": "see"})
    contract.call("GET", "/v1/tags", 200)
    contract.call("POST", "/v1/analyses", 200, files=video(CLIP), params={"frames": 180, "known": "show"})
    again = contract.call("POST", "/v1/analyses/{id}/again", 202, at=at, params={"frames": 2}).json()
    if [earlier["id"] for earlier in again["earlier"]] != [at["id"]]:
        contract.find(f"POST again: the first analysis is not among the earlier ones: {again}")
    finished(contract, again["id"])


def check_events(contract: Contract, at: dict) -> None:
    """Reads a stream of events to its end. The data of each must match the schema that the description names."""
    schemas = {"status": "StatusEvent", "progress": "Counts", "faces": "FacesEvent", "done": "Analysis"}
    text = contract.call("GET", "/v1/analyses/{id}/events", 200, at=at).content.decode()
    names = []
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        names.append(name := fields.get("event", "none"))
        if name not in schemas:
            contract.find(f"events: {name!r} is not expected of a video that can be read")
            continue
        contract.fits(json.loads(fields["data"]), f"/components/schemas/{schemas[name]}", f"event {name}")
    if names[-1] != "done" or set(names) < schemas.keys():
        contract.find(f"events: {names} of {list(schemas)}")


def fuzz(contract: Contract, clip: Path, site: str) -> None:
    """Runs schemathesis, which generates the same requests from the document each time."""
    identity = send(contract, clip, frames=3)
    finished(contract, identity)
    environment = os.environ | {
        "SCHEMATHESIS_HOOKS": "openapi_hooks",
        "PYTHONPATH": str(SCRIPTS),
        "DEEPSIGHT_CHECK_VIDEO": str(clip),
        "DEEPSIGHT_CHECK_ANALYSIS": identity,
        "DEEPSIGHT_CHECK_KEY": contract.key,
        "DEEPSIGHT_CHECK_ADDRESS": f"{site}/{clip.name}",
    }
    bounds = ["--max-examples", str(REQUESTS), "--generation-deterministic"]
    # ignored_auth skips operations whose security is optional, as a server without keys has it: see check_keys.
    checks = ["--checks", "all", "--exclude-checks", "ignored_auth", "--continue-on-failure"]
    patience = ["--request-timeout", str(PATIENCE), "--max-response-time", str(PATIENCE)]
    quiet = ["--no-color", "--warnings", "off"]
    command = [str(Path(sys.executable).parent / "schemathesis"), "run", f"{contract.address}/openapi.json"]
    command += ["-H", f"Authorization: Bearer {contract.key}", *bounds, *checks, *patience, *quiet]
    # In a separate folder, because it leaves files in the current one.
    with tempfile.TemporaryDirectory() as folder:
        code = subprocess.run(command, check=False, env=environment, cwd=folder, timeout=600).returncode
    if code != 0:
        contract.find("schemathesis has findings: see above")


class Site(http.server.SimpleHTTPRequestHandler):
    """Starts a site on a loopback address that serves the clips of a folder."""

    def log_message(self, *_):
        pass


def small_clip(folder: Path) -> Path:
    path = folder / "small.mp4"
    scale = ["-t", "1", "-i", str(CLIP), "-vf", "scale=320:-2", "-an"]
    subprocess.run(["ffmpeg", "-v", "error", "-nostdin", *scale, str(path)], check=True)
    return path


def main(binary: Path, folder: Path) -> int:
    key = f"ds_{secrets.token_hex(32)}"
    known = f"check:{hashlib.sha256(key.encode()).hexdigest()}:admin"
    clips = folder / "site"
    clips.mkdir()
    shutil.copy(CLIP, clips)
    small = small_clip(clips)
    site = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Site, directory=str(clips)))
    threading.Thread(target=site.serve_forever, daemon=True).start()
    host = f"127.0.0.1:{site.server_port}"
    # The queue is large, because a full one gives 503. The upload limit is low, so that a large video gives 413.
    flags = ["--api-key", known, "--queue", "4096", "--max-upload", "3MB"]
    flags += ["--fetch", str(FETCHER), "--fetch-host", host]
    nothing = folder / "nothing.mp4"
    nothing.touch()
    with Server(binary, folder / "data", folder / "log", *flags) as server:
        contract = Contract(server.address, key)
        validate_document(contract.document)
        check_service(contract)
        check_sessions(contract)
        check_keys(contract)
        check_admin(contract)
        check_fetch(contract, f"http://{host}")
        check_predict(contract)
        check_analysis(contract)
        check_refusals(contract, nothing)
        print(f"{contract.checked} real answers compared with the document", file=sys.stderr)
        fuzz(contract, small, f"http://{host}")
        for line in server.errors():
            contract.find(f"log: {line}")
    print(f"{len(contract.findings)} findings", file=sys.stderr)
    return 1 if contract.findings else 0


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="deepsight-openapi-") as temporary:
        chosen = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else find_binary()
        sys.exit(main(chosen, Path(temporary)))
