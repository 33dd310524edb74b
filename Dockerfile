# The proxy in a container.
#
#   docker build -t dynamic-reverse-proxy .
#   docker run --rm --network host dynamic-reverse-proxy
#
# Apps register over loopback only, and their targets are loopback addresses unless `targets.allow`
# says otherwise. So an app has to share the proxy's network namespace: `--network host` for apps on
# the host, `--network container:NAME` for an app in a container of its own, one pod in Kubernetes.
# With a published port (`-p 3000:3000`) clients reach the proxy, but nothing outside the container
# can register.

# The compiler of rust-toolchain.toml, and the C library of the final image.
FROM rust:1.95-bookworm AS build

# zlib-ng is built with cmake.
RUN apt-get update \
    && apt-get install -y --no-install-recommends cmake \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /build

# The dependencies, in a layer that stays until Cargo.toml or Cargo.lock changes. Cargo wants a file
# for each bench in the manifest, though it builds none here.
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
COPY patches patches
RUN mkdir -p src benches \
    && sed -n '/^\[\[bench\]\]/,/^$/s|^name = "\(.*\)"|benches/\1.rs|p' Cargo.toml | xargs touch \
    && touch src/lib.rs \
    && echo 'fn main() {}' > src/main.rs \
    && cargo build --release --locked \
    && rm -r src

COPY src src
COPY scripts/split-debug scripts/
# Cargo goes by the time of change, and these may be older than the layer above.
RUN touch src/lib.rs src/main.rs \
    && cargo build --release --locked \
    && scripts/split-debug target/release/dynamic-reverse-proxy


# The files and lines of backtraces, for beside the binary: docker build --target debug --output . .
FROM scratch AS debug

COPY --from=build /build/target/release/dynamic-reverse-proxy.debug /


FROM debian:bookworm-slim

# Whom to trust as an https target, and as the server of a certificate authority (acme).
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*

# No home, no shell (Debian's own user `proxy` has both); a number for Kubernetes' runAsNonRoot.
RUN groupadd --system --gid 10001 edge \
    && useradd --system --uid 10001 --gid edge --no-create-home --home-dir /nonexistent \
        --shell /usr/sbin/nologin edge \
    && install --directory --mode=0700 --owner=edge --group=edge /var/lib/dynamic-reverse-proxy

COPY --from=build /build/target/release/dynamic-reverse-proxy /usr/local/bin/
COPY conf/pingora.yaml /etc/dynamic-reverse-proxy/pingora.yaml

# The routes, and certificates, which the shipped configuration keeps over a restart: `-v NAME:...` to keep them over
# the container's end too.
VOLUME /var/lib/dynamic-reverse-proxy

USER 10001:10001
EXPOSE 3000

# The readiness probe of the control API, which is on the port after the traffic's: the container is healthy
# while it takes requests. bash is a part of every Debian. With another port in the configuration than PORT
# or 3000, or with control.listen, write a HEALTHCHECK of your own.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/$(( ${PORT:-${port:-3000}} + 1 )) && printf 'GET /readyz HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' >&3 && read -r -t 2 version status _ <&3 && [[ $version == HTTP/1.1 && $status == 200 ]] || exit 1"]

# SIGTERM, Docker's signal, finishes what is in flight: for up to shutdown_grace (30s) after
# lame_duck (0s), so give `docker stop` more than its ten seconds: `docker stop -t 35`.
ENTRYPOINT ["dynamic-reverse-proxy", "-c", "/etc/dynamic-reverse-proxy/pingora.yaml"]
