"""The ledger: every intent and every outcome as one line of a chain of hashes, on disk before the effect."""
