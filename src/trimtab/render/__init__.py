"""From an artifact to objects: closures, plain directories in process, kustomize as a confined worker."""
