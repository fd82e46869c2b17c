"""Hints and notices that more than one part gives."""

LIST_MODELS = (
    "`%llm models` lists what can be used: write a reference from its first column, or the path of a model file."
)
DOWNLOAD_AGAIN = "Download the file again; `curl -L -C - -O URL` resumes where it broke off."


def no_experts(reference: str) -> str:
    """The notice for a user of `--cpu-moe` whose model, of REFERENCE, is no mixture of experts."""
    return f"--cpu-moe changes nothing: {reference} has no experts."
