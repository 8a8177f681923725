# Two images from one file: `api` answers and scans, `runner` rehearses and proves.
#   docker build --target api .        docker build --target runner .
FROM python:3.11-slim-bookworm AS build
WORKDIR /build
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY registry registry
COPY api api
COPY workers workers
COPY migrations migrations
RUN python -m venv /opt/loadplan \
    && /opt/loadplan/bin/pip install --no-cache-dir --constraint constraints.txt .

FROM build AS build-runner
RUN /opt/loadplan/bin/pip install --no-cache-dir --constraint constraints.txt '.[runner]'

FROM python:3.11-slim-bookworm AS base
RUN apt-get update \
    && apt-get install -y --no-install-recommends bubblewrap \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 65532 --create-home --home-dir /var/lib/loadplan loadplan
ENV PATH=/opt/loadplan/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HF_HUB_DISABLE_XET=1 \
    HF_HUB_DISABLE_TELEMETRY=1 \
    LOADPLAN_HOST=0.0.0.0
USER 65532
WORKDIR /var/lib/loadplan
STOPSIGNAL SIGTERM

FROM base AS api
COPY --from=build /opt/loadplan /opt/loadplan
EXPOSE 8321
HEALTHCHECK --interval=10s --timeout=3s CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8321/livez', timeout=2)"]
CMD ["loadplan", "serve"]

FROM base AS runner
COPY --from=build-runner /opt/loadplan /opt/loadplan
CMD ["loadplan", "work", "--queue", "rehearse"]
