"""Looks at the data folder before anything else: it must exist, take files, and have room."""

import os
import tempfile
from pathlib import Path

from chat_app.errors import StartFailed
from chat_app.settings import Settings

PROBE_BYTES = 1_048_576


def prepare_data_dir(settings: Settings) -> Path:
    """Make the folder and write to it once. Raises StartFailed with the remedy."""
    folder = settings.data_dir
    remedy = "Make it writable, free space, or choose another folder with RAPPORT_DATA_DIR."
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".probe-") as probe:
            probe.write(b"\0" * PROBE_BYTES)
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        reason = error.strerror or str(error)
        raise StartFailed(f"The data folder {folder} cannot be written: {reason}. {remedy}") from error
    return folder
