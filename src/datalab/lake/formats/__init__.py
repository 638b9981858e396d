"""One file per table format, beside the port."""
