"""Buckets that speak the protocol of S3: their lists, and what is in them."""
