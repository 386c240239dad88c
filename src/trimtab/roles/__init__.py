"""The roles of `trimtab run`: what each is made of, how it comes into office, and how the process lives."""
