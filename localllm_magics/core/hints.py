"""What to type next, where more than one part says so."""

LIST_MODELS = "`%llm models` lists the models that can be used."
DOWNLOAD_AGAIN = "Download the file again; `curl -L -C - -O URL` goes on where it broke off."
