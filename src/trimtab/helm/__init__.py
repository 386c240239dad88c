"""Releases of Helm charts: values, rendering in a confined process, Helm's own records, and what to do next.

Only Helm can render its templates faithfully, so its binary does. Everything else is ours, and pure but for the hooks.
"""
