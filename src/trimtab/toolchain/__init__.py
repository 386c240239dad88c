"""Where the binaries we run come from: found on the machine, or built once from pinned Go modules."""
