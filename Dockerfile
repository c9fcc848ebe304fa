# One self-contained binary: the second stage has libc, certificates and nothing that could be run besides it.
FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends cmake g++ && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src src
COPY benches benches
COPY tests tests
RUN cargo build --release --locked --bin portcullis
RUN mkdir /state

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /src/target/release/portcullis /usr/bin/portcullis
# The store, where it is a file: mount a volume here, or it ends with the container.
COPY --from=build --chown=nonroot:nonroot /state /var/lib/portcullis
# Sockets: those that it listens on (`unix:/run/portcullis/http.sock`), and the place of a hand-over.
COPY --from=build --chown=nonroot:nonroot /state /run/portcullis
ENV STATE_DIRECTORY=/var/lib/portcullis RUNTIME_DIRECTORY=/run/portcullis
VOLUME /var/lib/portcullis
# Plain, and where a listener with TLS usually is; which of them is served says the configuration.
EXPOSE 8080 8443
ENTRYPOINT ["/usr/bin/portcullis"]
CMD ["serve", "--config", "/etc/portcullis"]
