"""Whether a change will succeed: verdicts about objects before anything is written, and how they are told. Pure."""
