# Builds and runs anywhere that has a container engine; docs/DEPLOYING.md has the commands.

FROM docker.io/library/rust:1.95-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src src
COPY config config
COPY migrations migrations
COPY examples examples
# What was fetched and compiled before is used again; the caches are no part of the image.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin ganger && \
    install -D target/release/ganger /out/ganger

FROM docker.io/library/debian:bookworm-slim
# Roots for TLS, and a first process that buries the orphans of command handlers, which the daemon does not.
# hadolint ignore=DL3008
RUN apt-get update && \
    apt-get install --yes --no-install-recommends ca-certificates tini && \
    rm -rf /var/lib/apt/lists/* && \
    install -d -o 10001 -g 10001 -m 0750 /var/lib/ganger
COPY --from=build /out/ganger /usr/bin/ganger

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="ganger" \
      org.opencontainers.image.description="A job queue and worker daemon that loses nothing it has accepted" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# Nobody outside of the container can reach its loopback. Without a token the daemon refuses to start like this.
ENV GANGER__SERVER__LISTEN=0.0.0.0:7521 \
    GANGER__SERVER__DATA_DIR=/var/lib/ganger
# By number, so that an orchestrator can see that it is not root.
USER 10001:10001
WORKDIR /var/lib/ganger
VOLUME /var/lib/ganger
EXPOSE 7521
STOPSIGNAL SIGTERM
# Whether the daemon itself moves; a store that is away is no reason to restart it.
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s --retries=3 CMD ["/usr/bin/ganger", "health", "--live"]
ENTRYPOINT ["/usr/bin/tini", "--", "/usr/bin/ganger"]
CMD ["serve"]
