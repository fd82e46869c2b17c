"""Where this user's caches are."""

from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """The folder of everything that is stored to be faster the next time."""
    return platformdirs.user_cache_path("localllm-magics")
