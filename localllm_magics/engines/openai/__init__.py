"""Models of a server that speaks as OpenAI does."""
