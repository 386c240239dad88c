"""Files encrypted by SOPS, opened in memory: formats, values, the MAC over all of them, and the keys for it."""
