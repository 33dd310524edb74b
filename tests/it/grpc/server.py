"""A gRPC app without generated code: messages are bytes, and mean what each method says.

    server.py [KEY CERTIFICATE]     in cleartext, or over TLS

It says its port on standard output. SIGTERM is a graceful stop: calls in flight finish.
"""

import signal
import sys
import threading
from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

METADATA = 32 * 1024
# What `Calls` says, and who is to change it.
lock = threading.Lock()
calls = {"running": 0, "cancelled": 0}


def watched(method):
    """Counts the calls of a method that run, and those that the other side gave up."""

    def call(request, context):
        ended = threading.Event()

        def end():
            with lock:
                calls["running"] -= 1
                calls["cancelled"] += not context.finished
            ended.set()

        context.finished = False
        with lock:
            calls["running"] += 1
        context.add_callback(end)
        yield from method(request, context, ended)
        context.finished = True

    return call


def say(request, context):
    """Says what it hears; `x-...` metadata comes back twice, before and after the message."""
    own = [(name, value) for name, value in context.invocation_metadata() if name.startswith("x-own")]
    context.send_initial_metadata(own)
    context.set_trailing_metadata(own)
    return request


def deadline(request, context):
    """How many seconds the call has left."""
    return str(context.time_remaining()).encode()


def fail(request, context):
    """Fails with the code, and the sentence, that it is told."""
    number, sentence = request.decode().split(" ", 1)
    code = next(code for code in grpc.StatusCode if code.value[0] == int(number))
    context.set_trailing_metadata([("grpc-status-details-bin", b"\x08\x05\x00\xff"), ("x-own", "why")])
    context.abort(code, sentence)


def count(request, context):
    """Counts to a number."""
    for number in range(int(request)):
        yield str(number).encode()


@watched
def wait(request, context, ended):
    """One message, silence for so many seconds, another message."""
    yield b"before"
    ended.wait(float(request))
    yield b"after"


@watched
def hang(request, context, ended):
    """Nothing until the call is given up."""
    ended.wait(60)
    yield b""


def size(requests, context):
    """The size of all that comes."""
    return str(sum(len(request) for request in requests)).encode()


def deny(requests, context):
    """Fails before it has read anything."""
    context.abort(grpc.StatusCode.PERMISSION_DENIED, "not you")


def chat(requests, context):
    """Answers each message as it comes."""
    for request in requests:
        yield b"re: " + request


def running(request, context):
    """What the watched methods have counted."""
    with lock:
        return f"{calls['running']} {calls['cancelled']}".encode()


METHODS = {
    "Say": grpc.unary_unary_rpc_method_handler(say),
    "Deadline": grpc.unary_unary_rpc_method_handler(deadline),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "Count": grpc.unary_stream_rpc_method_handler(count),
    "Wait": grpc.unary_stream_rpc_method_handler(wait),
    "Hang": grpc.unary_stream_rpc_method_handler(hang),
    "Size": grpc.stream_unary_rpc_method_handler(size),
    "Deny": grpc.stream_unary_rpc_method_handler(deny),
    "Chat": grpc.stream_stream_rpc_method_handler(chat),
    "Calls": grpc.unary_unary_rpc_method_handler(running),
}


def main():
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=150),
        compression=grpc.Compression.Gzip,
        options=[
            ("grpc.max_metadata_size", METADATA),
            ("grpc.absolute_max_metadata_size", METADATA),
            ("grpc.max_receive_message_length", 8 << 20),
        ],
    )
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.App", METHODS)])
    healthy = health.HealthServicer()
    healthy.set("test.App", health_pb2.HealthCheckResponse.SERVING)
    healthy.set("test.Ill", health_pb2.HealthCheckResponse.NOT_SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    if len(sys.argv) > 1:
        key, certificate = (open(name, "rb").read() for name in sys.argv[1:3])
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, certificate)]))
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    signal.signal(signal.SIGTERM, lambda *_: server.stop(grace=30))
    server.start()
    print(port, flush=True)
    server.wait_for_termination()


main()
