"""Serves model versions: one thread decodes for everybody, token by token, and swaps versions between answers.

Import from the modules: settings and errors are read by commands that need no model and shall not wait for one.
"""
