# docker build -t bottleneck . ; docker run --rm -v "$PWD:/data" bottleneck extract photos/ -o photos.h5
# With an NVIDIA GPU: Dockerfile.cuda.
FROM python:3.11-slim AS build
COPY . /src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels /src

FROM python:3.11-slim
ARG EXTRAS=openvino,parquet,remote
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir "$(ls /wheels/*.whl)[${EXTRAS}]" && rm -r /wheels \
    && useradd --create-home --uid 1000 bottleneck
USER 1000
WORKDIR /data
# The command itself is process 1: `docker stop` reaches it, and finished rows are kept.
ENTRYPOINT ["bottleneck"]
CMD ["--help"]
