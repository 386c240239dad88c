"""Repositories of Helm charts over HTTP: the index, and the charts it lists. Knows the protocol, not our kinds."""
