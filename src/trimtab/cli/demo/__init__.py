"""The demo: a cluster, a repository and the controllers on one machine."""
