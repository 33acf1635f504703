# metrics-server, compiled by ci/tools.
FROM scratch
ARG TARGETARCH
COPY ${TARGETARCH}/metrics-server /metrics-server
USER 65532:65532
ENTRYPOINT ["/metrics-server"]
