"""Loads a model and asks it, in a process of its own."""

import argparse
import json

from localllm_magics.core.errors import LocalLLMError
from localllm_magics.core.request import LoadOptions
from localllm_magics.session import Session


def main() -> None:
    """Print a line that says how it ended: the tokens of the answer, or the error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--ctx", type=int)
    parser.add_argument("--force", action="store_true")
    options = parser.parse_args()
    try:
        model = Session().use(options.model, LoadOptions(ctx=options.ctx, force=options.force)).model
        stats = model.complete("Why?", max_tokens=3, temperature=0).stats
        print(json.dumps({"answered": stats.completion_tokens, "context": model.context}))
    except LocalLLMError as error:
        print(json.dumps({"refused": type(error).__name__, "message": str(error)}))


if __name__ == "__main__":
    main()
