# The image of workers and operator: docker build -t meterpipe .
# The one list of what is in it: where there is no Docker, k8s-tests/cluster makes the same image by reading this file.
ARG DEBIAN=bookworm

FROM debian:${DEBIAN}-slim AS base
ARG PACKAGES="python3 ca-certificates"
RUN apt-get update \
 && apt-get install -y --no-install-recommends ${PACKAGES} \
 && rm -rf /var/lib/apt/lists/*

FROM base AS build
ARG EXTRAS="operator"
# For the few C sources of the workers; the compiler does not get into the image.
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev
COPY --from=ghcr.io/astral-sh/uv:0.8.24 /uv /usr/local/bin/uv
ENV UV_LINK_MODE=copy UV_PYTHON=/usr/bin/python3
WORKDIR /src
# The lock file is the constraint: its versions are taken and its hashes verified, its other packages stay away.
COPY pyproject.toml requirements.lock ./
RUN uv pip install --no-cache --target /opt/meterpipe --constraint requirements.lock -r pyproject.toml \
    $(for extra in ${EXTRAS}; do echo --extra ${extra}; done)
COPY README.md LICENSE hatch_build.py ./
COPY workers workers
COPY operator operator
RUN uv pip install --no-cache --target /opt/meterpipe --no-deps . \
 && python3 -m compileall -q --invalidation-mode unchecked-hash /opt/meterpipe

FROM base
COPY --from=build /opt/meterpipe /opt/meterpipe
ENV PATH=/opt/meterpipe/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONPATH=/opt/meterpipe \
    PYTHONUNBUFFERED=1
USER 1000:1000
ENTRYPOINT ["meterpipe"]
