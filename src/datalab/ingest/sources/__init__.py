"""The source port, and one file per kind of source."""
