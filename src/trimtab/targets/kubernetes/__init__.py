"""The Kubernetes target: gate, write-ahead inventory, server-side apply, prune, shared watches, drift."""
