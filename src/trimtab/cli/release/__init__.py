"""Commands that write other images into git, and those that keep everybody from it."""
