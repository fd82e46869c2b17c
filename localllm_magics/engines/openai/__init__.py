"""Models of a server that speaks the OpenAI API."""
