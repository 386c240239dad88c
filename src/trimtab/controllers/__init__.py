"""One module per kind: the story of one reconcile. Sequencing only; every mechanism is in a package below."""
