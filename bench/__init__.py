"""The project's benchmark: the floor of a control plane, and how close Trimtab comes to it."""
