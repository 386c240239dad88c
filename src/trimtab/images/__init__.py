"""New images in git: which of a repository's tags a policy chooses, and the edit that writes it into manifests."""
