"""Makes the bundled model `demo`: training text, training, export and checks."""
