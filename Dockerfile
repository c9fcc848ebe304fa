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
ENV STATE_DIRECTORY=/var/lib/portcullis
VOLUME /var/lib/portcullis
EXPOSE 8080
ENTRYPOINT ["/usr/bin/portcullis"]
CMD ["serve", "--config", "/etc/portcullis"]
