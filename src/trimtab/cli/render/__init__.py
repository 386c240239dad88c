"""Commands for files on this machine: render them, and judge what comes of them."""
