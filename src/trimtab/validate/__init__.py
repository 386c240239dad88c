"""Whether manifests are fit to be committed: schemas, names, duplicates, references, policies. No server."""
