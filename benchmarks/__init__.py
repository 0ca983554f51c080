"""Measurements: speed as ratios to a baseline run beside it, learning as win rates on fresh prompts."""
