"""Messages of commits from templates: what of Go's text/template people write in them, and nothing that looks outside.

A template is text of somebody else's: it can neither run for long nor make much, and what it asks for that is not
there is an error with its line, never a silent nothing.
"""
