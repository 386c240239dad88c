"""Immutable snapshots of sources: stored by content, published as archives, read back with suspicion."""
