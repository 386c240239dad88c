"""A real control plane on this machine, as a product feature: made, held, looked at and ended. The tests use it too."""
