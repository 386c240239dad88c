"""Our kinds as structs, their defaults, and the custom resource definitions and installation made from them."""
