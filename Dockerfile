# The packages, from the same hashed lock file as everywhere else.
FROM python:3.13-slim-bookworm AS builder
WORKDIR /app
ENV UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1 \
    UV_PYTHON_DOWNLOADS=never
COPY requirements.lock requirements-dev.lock ./
# uv itself comes from the lock of development tools, hash and all.
RUN sed -n '/^uv==/,/[^\\]$/p' requirements-dev.lock > uv.lock.txt \
    && pip install --no-cache-dir --no-deps --require-hashes -r uv.lock.txt \
    && uv venv .venv \
    && uv pip install --no-deps --only-binary :all: --require-hashes -r requirements.lock
COPY llm_service llm_service
COPY pyproject.toml ./
COPY tools/link.py tools/
RUN .venv/bin/python tools/link.py \
    && .venv/bin/python -m compileall -q llm_service

FROM python:3.13-slim-bookworm
# TLS to the vendors is checked against the system's certificates. They age, so no version is pinned.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --no-install-recommends --yes ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && install --directory --owner 10001 --group 10001 --mode 0700 /data
WORKDIR /app
COPY --from=builder /app/.venv .venv
COPY --from=builder /app/llm_service llm_service
COPY alembic.ini LICENSE NOTICE ./
COPY alembic alembic
ENV PATH=/app/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    LLM_DATA_DIR=/data
USER 10001:10001
VOLUME ["/data"]
EXPOSE 50051
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 CMD ["llm-service", "health"]
ENTRYPOINT ["llm-service"]
CMD ["serve"]
