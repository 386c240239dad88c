"""The status contracts of well-known kinds, one module a family; `table` says which rule is whose."""
