"""The part in C, and how it is built. What uses it works without it, too."""
