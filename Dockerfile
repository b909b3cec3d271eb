# One image for server, worker and command line. Build: docker build -t crosscity .
# For CUDA, give the index of your own PyTorch build:
#   docker build --build-arg TORCH_INDEX=<index url of the build> -t crosscity:cuda .
FROM python:3.11-slim

ARG TORCH_INDEX=""
ENV PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1 \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    DO_NOT_TRACK=1

RUN useradd --create-home crosscity
WORKDIR /srv/crosscity

COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY crosscity crosscity
COPY simcity simcity
COPY adapters adapters
COPY tasks tasks
COPY flows flows
RUN pip install ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} --constraint constraints.txt '.[s3]'

COPY data_catalog.yaml prefect.yaml ./
# Compiled inner loops are kept where the user of the image may write.
ENV NUMBA_CACHE_DIR=/srv/crosscity/.numba
RUN mkdir .crosscity .numba && chown -R crosscity:crosscity .
USER crosscity
RUN crosscity warm-up
# The store and the server's database; mount a volume here.
VOLUME /srv/crosscity/.crosscity

ENTRYPOINT ["crosscity"]
CMD ["--help"]
