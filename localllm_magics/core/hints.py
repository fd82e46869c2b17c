"""Hints that more than one part gives."""

LIST_MODELS = "`%llm models` lists the models that can be used."
DOWNLOAD_AGAIN = "Download the file again; `curl -L -C - -O URL` resumes where it broke off."
