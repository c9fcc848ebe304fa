# One self-contained binary: the second stage has libc, certificates, and nothing that could be run besides it.
# scripts/replay-dockerfile goes through this file without a container engine.

FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends cmake g++ && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# What it is made of changes seldom: these crates are a layer of their own, built around an empty program.
COPY Cargo.toml Cargo.lock ./
RUN mkdir src \
    && echo 'fn main() {}' > src/main.rs \
    && touch src/lib.rs \
    && cargo build --release --locked --bin portcullis \
    && rm -r src
COPY src src
# Newer than the empty program, whatever the times of the files are.
RUN touch src/main.rs src/lib.rs && cargo build --release --locked --bin portcullis
RUN mkdir /state

FROM gcr.io/distroless/cc-debian12:nonroot
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Portcullis" \
      org.opencontainers.image.description="A reverse-proxy authentication gateway" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /src/target/release/portcullis /usr/bin/portcullis
# The store, where it is a file: mount a volume here, or it ends with the container. 65532 is the image's `nonroot`.
COPY --from=build --chown=65532:65532 --chmod=0700 /state /var/lib/portcullis
# Sockets: those that it listens on (`unix:/run/portcullis/http.sock`), and the place of a hand-over.
COPY --from=build --chown=65532:65532 --chmod=0700 /state /run/portcullis
ENV STATE_DIRECTORY=/var/lib/portcullis RUNTIME_DIRECTORY=/run/portcullis
VOLUME /var/lib/portcullis
USER 65532:65532
# Plain, and where a listener with TLS usually is; which of them is served says the configuration.
EXPOSE 8080 8443
# Ready to serve; asks the admin listener, which is on the container's own loopback.
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s CMD ["/usr/bin/portcullis", "health"]
ENTRYPOINT ["/usr/bin/portcullis"]
CMD ["serve", "--config", "/etc/portcullis"]
