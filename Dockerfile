# The image of fluxlimit: one static program, the authorities that the world trusts, and nothing else.
#
#   docker build -t fluxlimit .
#   docker run --rm --read-only -p 8080:8080 -p 8081:8081 -v "$PWD/config/rules:/etc/fluxlimit/rules:ro" fluxlimit
#
# It is built for the processor of the machine that builds it, or, with several, for each:
#
#   docker buildx build --platform linux/amd64,linux/arm64 -t REGISTRY/fluxlimit --push .

# The compiler of Cargo.toml's rust-version or newer; with it come gcc and the static libc.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /build

# The dependencies alone, so that a change of the source does not build them again. Cargo asks for each target
# that Cargo.toml names, but not for what is in it.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src benches && echo 'fn main() {}' >src/main.rs && \
    touch src/lib.rs benches/decision.rs benches/instructions.rs && \
    cargo build --locked --release --bin fluxlimit

# The libc goes into the program, so it runs where there is none. Only the last step is told so: the dependencies
# are the same either way.
COPY src src
COPY sql sql
COPY config config
# The touched files are newer than what was built above, whatever the clock said where they were written.
RUN touch src/main.rs src/lib.rs && \
    cargo rustc --locked --release --bin fluxlimit -- -C target-feature=+crt-static -C strip=debuginfo

# No shell, no package manager, no libc: certificates of authorities, time zones, and a user named nobody.
FROM gcr.io/distroless/static-debian12:nonroot

LABEL org.opencontainers.image.title="fluxlimit" \
      org.opencontainers.image.description="A rate-limit server for Envoy" \
      org.opencontainers.image.licenses="MIT"

COPY --from=build /build/target/release/fluxlimit /usr/local/bin/fluxlimit

# Rule files are mounted here. A settings file can be mounted beside them and named by FLUXLIMIT_CONFIG.
ENV FLUXLIMIT_RULES=/etc/fluxlimit/rules

# By number, so that Kubernetes sees that it is not root. Nothing is written: the root can be read-only.
USER 65534:65534

# gRPC for Envoy; health, metrics and /json.
EXPOSE 8081 8080

# Docker and Compose use it; Kubernetes has probes of its own.
HEALTHCHECK --interval=5s --timeout=2s --start-period=30s CMD ["/usr/local/bin/fluxlimit", "probe"]

ENTRYPOINT ["/usr/local/bin/fluxlimit"]
CMD ["serve"]
