# One image for every process: `docker run listwire ingress`, `docker run listwire worker cohorts`, …
# Everything that enters it is pinned by hash; only the two base images are taken by name.
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
RUN python -m venv --without-pip /opt/listwire
COPY requirements/listwire.lock requirements/build.lock requirements/
RUN pip --python /opt/listwire/bin/python install --require-hashes --only-binary :all: -r requirements/listwire.lock \
 && pip install --require-hashes --only-binary :all: -r requirements/build.lock
COPY pyproject.toml README.md LICENSE ./
COPY listwire listwire
COPY ingress ingress
COPY stream stream
COPY vendors vendors
COPY console console
COPY sandbox sandbox
RUN hatchling build -t wheel -d /tmp/wheel \
 && pip --python /opt/listwire/bin/python install --no-deps /tmp/wheel/*.whl \
 && /opt/listwire/bin/python -m compileall -q /opt/listwire/lib

FROM python:${PYTHON}-slim
LABEL org.opencontainers.image.title="listwire" org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/listwire /opt/listwire
ENV PATH=/opt/listwire/bin:$PATH PYTHONUNBUFFERED=1 HOME=/tmp
# `listwire.toml` is looked for here.
WORKDIR /etc/listwire
USER 10001:10001
ENTRYPOINT ["listwire"]
CMD ["--help"]
