"""Loads versions for serving, in the numbers and on the device that this machine is fastest with."""

from __future__ import annotations

import logging
from functools import cached_property

from training.learning_settings import Precision
from training.loading import LoadedModel
from training.numerics import Numerics, probe_numerics
from training.versions import Versions, load_policy

logger = logging.getLogger(__name__)


class VersionLoader:
    """Gives loaded versions by id; the machine is tried out at the first one."""

    def __init__(self, versions: Versions, precision: Precision) -> None:
        """Look versions up in `versions`; "auto" takes the faster precision."""
        self._versions = versions
        self._precision = precision

    def __call__(self, version_id: int) -> LoadedModel:
        """Load a version; raises what `load_policy` raises."""
        numerics = self._numerics
        return load_policy(self._versions, version_id, device=numerics.device, dtype=numerics.weights_dtype)

    @cached_property
    def _numerics(self) -> Numerics:
        numerics = probe_numerics(precision=self._precision, compile_model=False)
        logger.info("Serving: %s", numerics.reason)
        return numerics
