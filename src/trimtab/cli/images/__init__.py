"""Commands that show and choose images."""
