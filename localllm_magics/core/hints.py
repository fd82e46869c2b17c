"""Hints that more than one part gives."""

LIST_MODELS = (
    "`%llm models` lists what can be used: write a reference from its first column, or the path of a model file."
)
DOWNLOAD_AGAIN = "Download the file again; `curl -L -C - -O URL` resumes where it broke off."
