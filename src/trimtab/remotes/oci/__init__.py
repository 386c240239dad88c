"""The wire client of OCI registries: the distribution protocol, and nothing of our kinds."""
