"""Trimtab keeps a running system equal to what git says it should be."""

__version__ = "0.1.0"
