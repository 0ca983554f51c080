"""The reward model: its loss on rankings, its data, its training, its scores and its health."""
