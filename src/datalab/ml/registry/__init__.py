"""Where the versions of a model are kept, and which of them is live."""
