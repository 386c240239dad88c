"""Commands that change a repository, and what they ask of its past."""
