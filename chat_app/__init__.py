"""Serves Rapport: chat and comparisons in the browser, the HTTP API and the command line."""

__version__ = "0.1.0"
