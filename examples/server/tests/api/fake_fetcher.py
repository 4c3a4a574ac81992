#!/usr/bin/env python3
"""Stands in for yt-dlp: takes its arguments and an address on standard input, which it downloads through the proxy of
its environment. The path of the address says what else it does."""

import os
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request

if "--version" in sys.argv:
    print("1.0-of-the-tests")
    sys.exit(0)

options, address = sys.argv[1:-2], sys.stdin.read().strip()
if sys.argv[-2:] != ["--batch-file", "-"]:
    sys.exit("ERROR: no address on standard input")
for needed in ["--ignore-config", "--no-playlist", "--no-cookies", "--no-cache-dir"]:
    if needed not in options:
        sys.exit(f"ERROR: {needed} is missing")
proxy = os.environ.get("http_proxy")
has_address = any("://" in option or "@" in option for option in sys.argv)
if not proxy or has_address or "SECRET_OF_THE_SERVER" in os.environ or "HTTPS_PROXY" in os.environ:
    sys.exit(f"ERROR: wrong environment {sorted(os.environ)}")
if os.listdir(".") or os.listdir(os.environ["HOME"]):
    sys.exit("ERROR: the folders are not empty")


def through(with_proxy, url):
    handler = urllib.request.ProxyHandler({"http": with_proxy, "https": with_proxy})
    return urllib.request.build_opener(handler).open(url)


def save(name, response):
    with open(name, "wb") as file:
        while chunk := response.read(65536):
            file.write(chunk)


title = "A clip of the web"
path = urllib.parse.urlsplit(address).path
try:
    if path == "/complains":
        sys.exit(f"WARNING: x\nERROR: [fake] Login required in {os.getcwd()}: " + "very " * 200 + "much")
    if path == "/unsupported":
        sys.exit(f"ERROR: Unsupported URL: {address} through {proxy}")
    if path == "/limits":
        import resource

        limits = [resource.getrlimit(which)[0] for which in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE)]
        title = f"Limits {limits}, user {os.getuid()}"
    if path == "/nothing":
        sys.exit(0)
    if path == "/hang":
        # With a child of its own.
        subprocess.Popen(["sleep", "1000"]).wait()
    if path == "/discard":
        response = through(proxy, address)
        while response.read(1 << 20):
            pass
        sys.exit("ERROR: the end")
    if path == "/uninvited":
        credentials, place = urllib.parse.urlsplit(proxy).netloc.rsplit("@", 1)
        codes = []
        for other in [f"http://{place}", f"http://fetch:guess@{place}"]:
            try:
                codes.append(through(other, address).status)
            except urllib.error.HTTPError as error:
                codes.append(error.code)
        title = f"Codes {codes}"
    if path.startswith("/tunnel"):
        # As https does, but without encryption.
        import base64
        import http.client

        credentials, place = urllib.parse.urlsplit(proxy).netloc.rsplit("@", 1)
        connection = http.client.HTTPConnection(place)
        secret = base64.b64encode(credentials.encode()).decode()
        connection.set_tunnel(urllib.parse.urlsplit(address).netloc, headers={"Proxy-Authorization": f"Basic {secret}"})
        connection.request("GET", "/clip.mp4")
        save("video.mp4", connection.getresponse())
    else:
        save("video.mp4", through(proxy, address))
    if path == "/two":
        save("video2.mp4", through(proxy, address))
except OSError as error:
    sys.exit(f"ERROR: {error}")
print(f"deepsight-title:{title}")
