"""What people say about answers: comparisons, preferences, and the frozen dataset made of them."""
