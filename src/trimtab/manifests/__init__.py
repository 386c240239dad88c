"""Kubernetes objects as data: references, YAML, inventory ids, conditions, ordering. Pure: no I/O, no event loop."""
