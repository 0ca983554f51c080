"""Tests of the presenters."""
