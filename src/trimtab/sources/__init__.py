"""From the address of a source to an immutable snapshot of its files."""
