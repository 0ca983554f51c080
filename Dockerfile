# One image for the app and the worker; see compose.yaml for how they are started.
FROM python:3.11-slim

RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/rapport
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY chat_app chat_app
COPY training training
COPY feedback feedback
COPY db db
RUN pip install --no-cache-dir --constraint constraints.txt '.[postgres]'

RUN useradd --create-home --uid 1000 rapport && install -d -o rapport -g rapport /data
USER rapport
ENV RAPPORT_DATA_DIR=/data
VOLUME /data
EXPOSE 7860
CMD ["rapport", "serve"]
