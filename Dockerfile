# One image for server, worker and command line. Build: docker build -t crosscity .
# For CUDA, give the index of your own PyTorch build:
#   docker build --build-arg TORCH_INDEX=<index url of the build> -t crosscity:cuda .
# The steps are those of the Makefile: install by the lock, then compile once.
FROM python:3.11-slim AS build

ARG TORCH_INDEX=""
ENV PIP_NO_CACHE_DIR=1 \
    NUMBA_CACHE_DIR=/opt/crosscity/numba
WORKDIR /src
COPY constraints.txt requirements.lock pyproject.toml README.md LICENSE ./
COPY crosscity crosscity
COPY simcity simcity
COPY adapters adapters
COPY tasks tasks
COPY flows flows
# By the hashes of requirements.lock; another build of PyTorch has others, and goes by the versions.
RUN python -m venv /opt/crosscity/venv \
    && if [ -z "$TORCH_INDEX" ]; then \
        /opt/crosscity/venv/bin/pip install --no-deps --require-hashes --requirement requirements.lock; \
    fi \
    && /opt/crosscity/venv/bin/pip install ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} \
        --constraint constraints.txt '.[s3,dask]'
# Here and not in the last stage: compiled code is found by the path, time and size of its source,
# so it is made where the environment has its final place, and copied with its times.
RUN mkdir /opt/crosscity/numba && /opt/crosscity/venv/bin/crosscity warm-up

FROM python:3.11-slim AS run

ENV PATH=/opt/crosscity/venv/bin:$PATH \
    NUMBA_CACHE_DIR=/opt/crosscity/numba \
    PYTHONUNBUFFERED=1 \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    PREFECT_SERVER_ALLOW_EPHEMERAL_MODE=false \
    DO_NOT_TRACK=1
RUN useradd --create-home --uid 10001 crosscity \
    && mkdir -p /srv/crosscity/.crosscity \
    && chown -R 10001 /srv/crosscity
# The user may write there: what another processor needs is compiled beside what is there.
COPY --from=build --chown=10001 /opt/crosscity /opt/crosscity
WORKDIR /srv/crosscity
COPY --chown=10001 data_catalog.yaml prefect.yaml ./
USER 10001
# The store and the server's database; mount a volume here.
VOLUME /srv/crosscity/.crosscity

ENTRYPOINT ["crosscity"]
CMD ["--help"]
