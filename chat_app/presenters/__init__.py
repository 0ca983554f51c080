"""Turn what services return into what a page shows: pure functions over values and words, without Gradio."""
