"""Tests of Rapport; the tree mirrors the packages."""

import os

# Two-layer models gain nothing from threads, and lose much when several test processes share few cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
