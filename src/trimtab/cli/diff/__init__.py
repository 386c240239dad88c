"""Where two things differ that should not: files and a cluster, or two environments."""
