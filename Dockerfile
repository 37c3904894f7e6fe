# A server in a container: docker build -t omni-duplex . && docker run -p 8000:8000 omni-duplex
# With a GPU:  docker build --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 -t omni-duplex:cuda .
#              docker run --gpus all -p 8000:8000 omni-duplex:cuda
FROM python:3.11-slim

# Which build of torch: PyTorch's index for CPUs, or one of its CUDA indices.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

RUN apt-get update && apt-get install -y --no-install-recommends make && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 omni

WORKDIR /app
COPY pyproject.toml constraints.txt Makefile README.md LICENSE ./
COPY omni_core omni_core
COPY server server
COPY clients clients
COPY deploy deploy

# The steps of `make setup`, without the tools of development.
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN make setup EXTRAS= TORCH_INDEX="$TORCH_INDEX"

ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1
USER omni
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=3s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
CMD ["omni", "serve", "--host", "0.0.0.0"]
