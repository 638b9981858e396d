"""Models: declared, trained from a training set, judged by a gate, kept in a registry, taken to the server as data."""
