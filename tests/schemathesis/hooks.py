"""What the description cannot say in JSON Schema, and schemathesis therefore has to be told.

Formats of our own: strings that cannot be told by a pattern. And lists whose entries have to differ
in a part of them only.
"""

import ipaddress
import itertools
import json
import os
import pathlib
import urllib.parse

import schemathesis
from hypothesis import strategies as st


def units(largest):
    """Lengths of time as humantime writes them."""
    return st.sampled_from(sorted(largest)).flatmap(
        lambda unit: st.integers(1, largest[unit]).map(lambda count: f"{count}{unit}")
    )


LEASES = units({"s": 2_592_000, "m": 43_200, "h": 720, "d": 30})
PREFIXES = st.from_regex(r"/[a-z0-9]{1,8}", fullmatch=True)

TIMEOUTS = units({"ms": 2_592_000_000, "s": 2_592_000, "h": 720})
schemathesis.openapi.format("timeout", TIMEOUTS)
schemathesis.openapi.format("timeout-or-off", TIMEOUTS | st.just("off"))
schemathesis.openapi.format("lease", LEASES | st.just("1h30m"))
schemathesis.openapi.format("drain", units({"ms": 86_400_000, "s": 86_400, "h": 24}) | st.just("0s"))
schemathesis.openapi.format("duration-with-units", LEASES)
schemathesis.openapi.format("time-or-duration", LEASES | st.just("2026-01-31T12:00:00Z"))
# Names that resolve without asking anybody.
schemathesis.openapi.format(
    "target-host", st.sampled_from(["localhost", "127.0.0.1", "127.0.0.2", "::1", "[::1]"])
)
schemathesis.openapi.format("cursor", PREFIXES.map(lambda prefix: f"*{prefix}"))
schemathesis.openapi.format(
    "url-or-path", PREFIXES | PREFIXES.map(lambda prefix: f"http://example.com{prefix}?x=1")
)
schemathesis.openapi.format("entity-tags", st.sampled_from(["*", '"0-0"', 'W/"0-0", "0-1"']))

# Certificates with their keys, which tests/it/openapi.rs makes: none can be guessed.
IDENTITIES = json.loads(pathlib.Path(os.environ["IDENTITIES"]).read_text())
KEYS = {identity["certificate"]: identity["key"] for identity in IDENTITIES}

schemathesis.openapi.format("pem-certificates", st.sampled_from(list(KEYS)))
schemathesis.openapi.format("pem-private-key", st.sampled_from(list(KEYS.values())))

# Made-up conditions seldom hold, and a 412 hides what is behind it: three of four are left out.
UNCONDITIONAL = itertools.cycle([True, True, True, False])


@schemathesis.hook
def before_call(context, case, kwargs):
    """Valid requests are as clients write them."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    case.body = written(case.body)
    if next(UNCONDITIONAL):
        for name in ("If-Match", "If-None-Match"):
            case.headers.pop(name, None)


def written(value):
    if isinstance(value, float) and value.is_integer():
        # To JSON Schema 1.0 is an integer, to most programs it is none.
        return int(value)
    if isinstance(value, list):
        return [written(item) for item in value]
    if not isinstance(value, dict):
        return value
    value = {name: written(item) for name, item in value.items()}
    if FIELDS_OF_A_TARGET & value.keys():
        target(value)
    if {"certificate", "key"} <= value.keys():
        identity(value)
    differ(value, "instances", lambda item: item.get("id") or "default")
    differ(value, "routes", lambda item: (host(item["host"]), prefix(item["prefix"])))
    return value


FIELDS_OF_A_TARGET = {"port", "unix"}


def target(value):
    """A target has a port or a Unix socket, and h2 goes with TLS, which has a name to verify."""
    if value.get("unix"):
        value.pop("port", None)
        value.pop("host", None)
    else:
        value["port"] = value.get("port") or 4321
    is_secure = value.get("https") not in (None, False)
    if is_secure:
        value["https"] = {"server_name": "app.internal"}
    if value.get("protocol") == ("h2c" if is_secure else "h2"):
        del value["protocol"]


def identity(value):
    """A key is its certificate's; the description's example has neither."""
    if value["certificate"] not in KEYS:
        value["certificate"] = next(iter(KEYS))
    value["key"] = KEYS[value["certificate"]]


def host(text):
    """The same for what is the same host."""
    if text.startswith("["):
        return ipaddress.ip_address(text[1:-1])
    return text.lower().removesuffix(".")


def prefix(text):
    """The same for what is the same prefix, and for some that are not."""
    return urllib.parse.unquote(text, errors="surrogateescape").strip("/").lower()


def differ(value, name, key):
    """The entries of a list have names of their own; of those with the same the first stays."""
    if isinstance(value.get(name), list):
        value[name] = list({key(item): item for item in reversed(value[name])}.values())[::-1]
