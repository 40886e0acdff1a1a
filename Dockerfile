# PersonaTalk on CPUs. Unbuilt so far: see docs/install.md.
FROM python:3.12-slim AS build
RUN pip install --no-cache-dir build
WORKDIR /source
COPY . .
RUN python -m build --wheel --outdir /dist

FROM python:3.12-slim
RUN --mount=type=bind,from=build,source=/dist,target=/dist \
    pip install --no-cache-dir "$(echo /dist/*.whl)[serve]"
RUN useradd --create-home user && install --directory --owner user /data
USER user
WORKDIR /work
ENTRYPOINT ["personatalk"]
CMD ["--help"]
