"""One module a provider; `table.py` is the list of them. How one is written: see the words of `notify`."""
