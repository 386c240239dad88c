"""From an object to a verdict: is it done, at work, or broken? Pure: no I/O, no event loop."""
