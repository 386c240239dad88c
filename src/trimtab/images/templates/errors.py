"""What can be wrong with a template."""


class TemplateError(ValueError):
    """A template that cannot be read, or run. `line` counts from 1."""

    def __init__(self, line: int, words: str) -> None:
        super().__init__(f"line {line}: {words}")
        self.line = line
        self.words = words
