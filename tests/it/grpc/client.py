"""A gRPC client that says what it finds wrong.

    client.py ADDRESS [--ca FILE] SCENARIO...

Each scenario is a function of this file. One that needs something done to the app or the proxy says
on standard output how far it is, and goes on when a line comes on standard input.
"""

import os
import sys
import threading
import time

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

Code = grpc.StatusCode
OPTIONS = [
    ("grpc.max_metadata_size", 32 * 1024),
    ("grpc.absolute_max_metadata_size", 32 * 1024),
    ("grpc.max_receive_message_length", 8 << 20),
    ("grpc.enable_retries", 0),
    # Channels of one process would share their connections.
    ("grpc.use_local_subchannel_pool", 1),
]
# How long anything may take that is to come.
SOON = 30


class App:
    """The methods of a service."""

    def __init__(self, channel, service="test.App"):
        self.channel, self.service = channel, service

    def __getattr__(self, method):
        kind = {"Count": "unary_stream", "Wait": "unary_stream", "Hang": "unary_stream"}
        kind |= {"Size": "stream_unary", "Deny": "stream_unary", "Chat": "stream_stream"}
        call = getattr(self.channel, kind.get(method, "unary_unary"))
        return call(f"/{self.service}/{method}")


def failure(call):
    """The error that a call ends with."""
    try:
        result = call()
        if hasattr(result, "__next__"):
            result = list(result)
    except grpc.RpcError as error:
        return error
    raise AssertionError(f"no error, but {result!r}")


def same(found, expected, what=""):
    if found != expected:
        raise AssertionError(f"{what}: {found!r}, not {expected!r}")


def fails(call, code, sentence):
    """The call ends with a code, and a sentence that has these words."""
    error = failure(call)
    same((error.code(), sentence in error.details()), (code, True), error.details())
    return error


def eventually(what, probe):
    end = time.monotonic() + SOON
    while not probe():
        if time.monotonic() > end:
            raise AssertionError(f"not within {SOON} s: {what}")
        time.sleep(0.02)


def all_over(app, cancelled):
    """Waits until the app runs no call, and so many were given up."""
    expected = f"0 {cancelled}".encode()
    eventually(f"the app has heard of it: {expected}", lambda: app.Calls(b"", timeout=SOON) == expected)


def cancelled(app):
    return int(app.Calls(b"", timeout=SOON).split()[1])


def step(words):
    """Says how far it is, and waits for the test to do its part."""
    print(words, flush=True)
    same(sys.stdin.readline(), "go\n")


def silent():
    """A stream of requests that says one thing and goes on without an end."""
    yield b"first"
    threading.Event().wait(60)


# --- Scenarios ------------------------------------------------------------------------------------


def kinds(channel):
    """The four kinds of call."""
    app = App(channel)
    same(app.Say(b"hello", timeout=SOON), b"hello")
    same(app.Say(b"", timeout=SOON), b"")
    same(list(app.Count(b"1000", timeout=SOON)), [str(number).encode() for number in range(1000)])
    same(list(app.Count(b"0", timeout=SOON)), [])
    same(app.Size((b"x" * 1000 for _ in range(1000)), timeout=SOON), b"1000000")
    same(app.Size(iter(()), timeout=SOON), b"0")
    said, heard = threading.Semaphore(1), []

    def talk():
        for number in range(20):
            # Only when the one before is answered: nothing waits for the end of anything.
            assert said.acquire(timeout=SOON)
            yield str(number).encode()

    for answer in app.Chat(talk(), timeout=SOON):
        heard.append(answer)
        said.release()
    same(heard, [f"re: {number}".encode() for number in range(20)])


def statuses(channel):
    """Every code, with its sentence, its details and its metadata."""
    app = App(channel)
    for code in Code:
        if code is Code.OK:
            continue
        sentence = f"100 % {code.name}: schlägt fehl\nüberall"
        error = failure(lambda: app.Fail(f"{code.value[0]} {sentence}".encode(), timeout=SOON))
        same((error.code(), error.details()), (code, sentence))
        trailing = dict(error.trailing_metadata())
        same(trailing["grpc-status-details-bin"], b"\x08\x05\x00\xff")
        same(trailing["x-own"], "why")
    fails(lambda: app.Nothing(b"", timeout=SOON), Code.UNIMPLEMENTED, "Method not found")


def denied(channel):
    """A call that fails before its client has said all, with nothing lost."""
    app = App(channel)
    for _ in range(20):
        fails(lambda: app.Deny(iter([b"x" * 100_000] * 5), timeout=SOON), Code.PERMISSION_DENIED, "not you")
    fails(lambda: app.Deny(silent(), timeout=SOON), Code.PERMISSION_DENIED, "not you")


def metadata(channel):
    """Metadata in both directions: binary, repeated, large."""
    app = App(channel)
    own = [
        ("x-own", "first"),
        ("x-own", "second"),
        ("x-own-bin", bytes(range(256))),
        ("x-own-empty-bin", b""),
        ("x-own-large", "m" * 8192),
    ]
    answer, call = app.Say.with_call(b"", metadata=own, timeout=SOON)
    for name, came in [("initial", call.initial_metadata()), ("trailing", call.trailing_metadata())]:
        same(sorted(tuple(pair) for pair in came if pair[0].startswith("x-own")), sorted(own), name)
    assert "x-request-id" in dict(call.initial_metadata())


def compression(channel):
    """Messages that the client, and the app, have compressed."""
    app = App(channel)
    message = b"again and again, " * 10_000
    for kind in [grpc.Compression.Gzip, grpc.Compression.Deflate, grpc.Compression.NoCompression]:
        same(app.Say(message, compression=kind, timeout=SOON), message, kind)


def large(channel):
    """Messages of 4 MB, one way and the other, alone and several at a time."""
    app = App(channel)
    message = os.urandom(4_000_000)
    same(app.Say(message, timeout=SOON), message)
    same([len(answer) for answer in app.Chat(iter([message] * 3), timeout=SOON)], [4_000_004] * 3)


def deadlines(channel):
    """The app knows the deadline; when it passes, the client hears of it, and so does the app."""
    app = App(channel)
    left = float(app.Deadline(b"", timeout=15))
    # The client itself rounds up what it writes (gRPC's timeout_encoding.h), to tenths of a second here.
    assert 10 < left <= 15.1, left
    before = cancelled(app)
    began = time.monotonic()
    fails(lambda: app.Hang(b"", timeout=1), Code.DEADLINE_EXCEEDED, "")
    fails(lambda: app.Wait(b"30", timeout=1), Code.DEADLINE_EXCEEDED, "")
    fails(lambda: app.Size(silent(), timeout=1), Code.DEADLINE_EXCEEDED, "")
    assert time.monotonic() - began < 15
    all_over(app, before + 2)


def quiet(channel):
    """Silence is not cut before the deadline, whoever keeps it; the proxy's own limit is 1 s."""
    app = App(channel)
    same(list(app.Wait(b"2.5", timeout=SOON)), [b"before", b"after"])

    def slowly():
        yield b"one"
        time.sleep(2.5)
        yield b"two"

    same(list(app.Chat(slowly(), timeout=SOON)), [b"re: one", b"re: two"])
    # Without a deadline it is.
    fails(lambda: app.Wait(b"20"), Code.DEADLINE_EXCEEDED, "did not answer in time")
    fails(lambda: app.Hang(b""), Code.DEADLINE_EXCEEDED, "did not answer in time")
    fails(lambda: app.Chat(silent()), Code.DEADLINE_EXCEEDED, "did not come in time")
    eventually("the app runs nothing", lambda: app.Calls(b"", timeout=SOON).startswith(b"0 "))


def cancels(channel):
    """What a client gives up ends at the app: before the answer, within it, within the request."""
    app = App(channel)
    before = cancelled(app)
    hanging = [app.Hang(b"") for _ in range(10)]
    eventually("all run", lambda: app.Calls(b"", timeout=SOON).startswith(b"10 "))
    for call in hanging:
        call.cancel()
        same(failure(lambda: list(call)).code(), Code.CANCELLED)
    all_over(app, before + 10)
    waiting = app.Wait(b"60")
    same(next(waiting), b"before")
    waiting.cancel()
    all_over(app, before + 11)
    chat = app.Chat(silent())
    same(next(chat), b"re: first")
    chat.cancel()
    same(failure(lambda: list(chat)).code(), Code.CANCELLED)


def vanishes(channel):
    """A client that dies within its calls."""
    app = App(channel)
    app.kept = [app.Wait(b"60"), app.Hang(b""), app.Chat(silent())]
    same(next(app.kept[0]), b"before")
    same(next(app.kept[2]), b"re: first")
    eventually("both run", lambda: app.Calls(b"", timeout=SOON).startswith(b"2 "))
    step("in flight")
    os._exit(0)


def hundred(channel):
    """A hundred calls at once on one connection, none in another's way."""
    app = App(channel)
    everyone, failed = threading.Barrier(100), []

    def one(number):
        try:
            chat, mine = None, f"call {number}".encode()

            def talk():
                yield mine
                # All hundred are open here.
                everyone.wait(SOON)
                yield mine

            chat = list(app.Chat(talk(), timeout=SOON))
            same(chat, [b"re: " + mine] * 2)
        except Exception as error:
            failed.append(error)
            everyone.abort()

    threads = [threading.Thread(target=one, args=[number]) for number in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    same(failed, [])


def absent(channel):
    """No route, and an app that was not started."""
    nobody = App(channel, "nobody.App")
    for call in [nobody.Say, nobody.Hang]:
        error = fails(lambda: call(b"", timeout=SOON), Code.UNIMPLEMENTED, "No app is registered for this path")
        assert "x-request-id" in dict(error.trailing_metadata()), error.trailing_metadata()
    fails(lambda: nobody.Size(iter([b"x" * 100_000] * 5), timeout=SOON), Code.UNIMPLEMENTED, "No app")
    fails(lambda: nobody.Chat(silent(), timeout=SOON), Code.UNIMPLEMENTED, "No app")
    fails(lambda: App(channel, "absent.App").Say(b"", timeout=SOON), Code.UNAVAILABLE, "cannot be reached")
    # What is no gRPC at all.
    fails(lambda: App(channel, "page.App").Say(b"", timeout=SOON), Code.UNIMPLEMENTED, "404")
    fails(lambda: App(channel, "x" * 20_000).Say(b"", timeout=SOON), Code.RESOURCE_EXHAUSTED, "target is longer")
    fails(lambda: App(channel, "a%00").Say(b"", timeout=SOON), Code.INTERNAL, "")


def resets(channel):
    """An app that resets its streams: the client has the status that it would have without a proxy."""
    cases = {0x1: Code.INTERNAL, 0x2: Code.INTERNAL, 0x7: Code.UNAVAILABLE, 0x8: Code.CANCELLED}
    cases |= {0xB: Code.RESOURCE_EXHAUSTED, 0xC: Code.PERMISSION_DENIED}
    for when in ["before", "within"]:
        app = App(channel, f"reset.{when}")
        for reason, code in cases.items():
            call = channel.unary_stream(f"/reset.{when}/{reason}")
            same(failure(lambda: list(call(b"", timeout=SOON))).code(), code, f"{when} {reason}")


def killed(channel):
    """The app is killed within calls; the next one finds nobody."""
    app = App(channel)
    waiting, hanging, chat = app.Wait(b"60"), app.Hang(b""), app.Chat(silent())
    same((next(waiting), next(chat)), (b"before", b"re: first"))
    eventually("both run", lambda: app.Calls(b"", timeout=SOON).startswith(b"2 "))
    step("in flight")
    for call in [waiting, hanging, chat]:
        fails(lambda: list(call), Code.UNAVAILABLE, "broke off")
    fails(lambda: app.Say(b"", timeout=SOON), Code.UNAVAILABLE, "cannot be reached")


def stopped(channel):
    """The app is told to stop, or its route is taken away: calls in flight finish."""
    app = App(channel)
    waiting = app.Wait(b"2", timeout=SOON)
    proceed = threading.Event()

    def talk():
        yield b"one"
        assert proceed.wait(SOON)
        yield b"two"

    chat = app.Chat(talk(), timeout=SOON)
    same((next(waiting), next(chat)), (b"before", b"re: one"))
    step("in flight")
    proceed.set()
    same((list(waiting), list(chat)), ([b"after"], [b"re: two"]))
    print("finished", flush=True)


def drained(channel):
    """The grace of a drain ends: what is still in flight is told."""
    app = App(channel)
    waiting, hanging = app.Wait(b"60", timeout=SOON), app.Hang(b"", timeout=SOON)
    same(next(waiting), b"before")
    eventually("both run", lambda: app.Calls(b"", timeout=SOON).startswith(b"2 "))
    step("in flight")
    for call in [waiting, hanging]:
        fails(lambda: list(call), Code.UNAVAILABLE, "taken down")


def pings(channel):
    """A call that is quiet for longer than 30 pings take; a strict peer would be enraged."""
    app = App(channel)
    same(list(app.Wait(b"3", timeout=SOON)), [b"before", b"after"])
    # Without a call, too.
    time.sleep(1)
    same(app.Say(b"still here", timeout=SOON), b"still here")


def healthy(channel):
    """The standard's health checks, and a watch."""
    stub = health_pb2_grpc.HealthStub(channel)
    states = health_pb2.HealthCheckResponse
    for service, state in [("test.App", states.SERVING), ("test.Ill", states.NOT_SERVING)]:
        request = health_pb2.HealthCheckRequest(service=service)
        same(stub.Check(request, timeout=SOON).status, state)
    fails(lambda: stub.Check(health_pb2.HealthCheckRequest(service="?"), timeout=SOON), Code.NOT_FOUND, "")
    watch = stub.Watch(health_pb2.HealthCheckRequest(service="test.App"), timeout=SOON)
    same(next(watch).status, states.SERVING)
    watch.cancel()


def main():
    address, *scenarios = sys.argv[1:]
    credentials = None
    if scenarios[0] == "--ca":
        credentials = grpc.ssl_channel_credentials(open(scenarios[1], "rb").read())
        scenarios = scenarios[2:]
    for name in scenarios:
        options = list(OPTIONS)
        if name == "pings":
            options += [
                ("grpc.keepalive_time_ms", 100),
                ("grpc.http2.max_pings_without_data", 0),
                ("grpc.http2.ping_timeout_ms", 2000),
                ("grpc.keepalive_permit_without_calls", 1),
            ]
        if credentials:
            options.append(("grpc.ssl_target_name_override", "localhost"))
            channel = grpc.secure_channel(address, credentials, options)
        else:
            channel = grpc.insecure_channel(address, options)
        try:
            globals()[name](channel)
        except Exception as error:
            raise AssertionError(f"{name}: {globals()[name].__doc__}") from error
        channel.close()
        print(f"{name}: ok", flush=True)
    # Threads that still wait to say something do not count.
    os._exit(0)


main()
