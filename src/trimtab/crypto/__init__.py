"""Signatures: who signed some bytes, judged by keys that somebody chose to trust. No I/O, no knowledge of our kinds."""
