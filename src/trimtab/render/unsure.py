"""The way out for builds in process."""


class Unsure(Exception):
    """An input whose treatment is left to kustomize. The message says what it was."""
