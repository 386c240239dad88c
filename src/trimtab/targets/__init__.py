"""Places that can be looked at, compared with a wish, and brought closer to it. Every write to a cluster lives here."""
