"""The HTTP API under /api, documented at /docs; a route reads the request and calls one service."""
