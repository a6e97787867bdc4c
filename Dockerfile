# Images built from this checkout, since lyftdata is not on a public package index. One has both sides, a smaller one only the Worker:
#
#     docker build --target server --tag lyftdata-server:0.1.0 .     # run server, or run worker
#     docker build --target worker --tag lyftdata-worker:0.1.0 .     # holds no Server
#
# Both run as user 10001, work with a read-only root file system, and need no shell.
#
# All packages are pinned by hash in requirements/. Pin the base image too, by the digest of one that you have
# checked: --build-arg PYTHON_IMAGE=python:3.13-slim@sha256:...
#
# .dockerignore limits what is copied from the checkout. The final images contain only /opt/lyftdata of it.
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY requirements/build.txt requirements/run.txt requirements/otel.txt requirements/worker.txt requirements/
RUN python -m venv /opt/build \
    && /opt/build/bin/pip install --require-hashes -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN /opt/build/bin/hatchling build -t wheel -d /dist

FROM build AS server-environment
# `otel` adds the packages for traces (LYFTDATA_TRACING).
ARG SERVER_REQUIREMENTS=run
RUN python -m venv /opt/lyftdata \
    && /opt/lyftdata/bin/pip install --require-hashes -r requirements/${SERVER_REQUIREMENTS}.txt \
    && /opt/lyftdata/bin/pip install --no-deps --no-index /dist/*.whl

FROM build AS worker-environment
RUN python -m venv /opt/lyftdata \
    && /opt/lyftdata/bin/pip install --require-hashes -r requirements/worker.txt \
    && /opt/lyftdata/bin/pip install --no-deps --no-index /dist/*.whl

# One numeric user for both, so that Kubernetes can verify that it is not root. A new volume at /var/lib/lyftdata gets
# the owner and mode of this directory.
FROM ${PYTHON_IMAGE} AS base
RUN groupadd --gid 10001 lyftdata \
    && useradd --uid 10001 --gid 10001 --home-dir /var/lib/lyftdata --shell /usr/sbin/nologin lyftdata \
    && install -d -o 10001 -g 10001 -m 700 /var/lib/lyftdata
ENV PATH=/opt/lyftdata/bin:$PATH
USER 10001:10001

FROM base AS server
COPY --from=server-environment /opt/lyftdata /opt/lyftdata
ENV LYFTDATA_STAGING_DIR=/var/lib/lyftdata/server LYFTDATA_JOBS_DIR=/var/lib/lyftdata/worker
# For a Server on port 3000 without its own certificate. A Worker needs no health check: it exits when it cannot continue.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-I", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:3000/readyz', timeout=4)"]
CMD ["lyftdata", "run", "server"]

# Last, so that it is the default target: it contains no Server.
FROM base AS worker
COPY --from=worker-environment /opt/lyftdata /opt/lyftdata
ENV LYFTDATA_JOBS_DIR=/var/lib/lyftdata/worker
CMD ["lyftdata", "run", "worker"]
