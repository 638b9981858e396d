"""Records that clients push: kept in files on disk before they are acknowledged, then ingested like any other file."""
