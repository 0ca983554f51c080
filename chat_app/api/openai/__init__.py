"""The API under /v1 in the form of OpenAI's, so that programs made for that one can chat here and feed the loop."""
