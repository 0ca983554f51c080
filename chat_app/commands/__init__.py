"""The commands of `rapport`, one per file; heavy things are imported when a command runs: help is quick."""
