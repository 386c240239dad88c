"""Commands that say how an app is doing, and why."""
