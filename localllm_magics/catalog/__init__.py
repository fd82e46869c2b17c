"""Finding models on this machine and on its servers, and reading their metadata without loading them."""
