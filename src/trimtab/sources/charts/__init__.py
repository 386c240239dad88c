"""Helm charts: read from archives and directories, checked, completed with values and dependencies, and packaged."""
