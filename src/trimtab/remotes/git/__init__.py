"""Git as a wire protocol: addresses, references over smart HTTP, and a hardened git for everything else."""
