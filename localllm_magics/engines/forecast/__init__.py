"""How fast a model will be on this machine, from its shape and from what tiny models measured here."""
