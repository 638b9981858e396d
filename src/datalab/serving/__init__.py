"""Serving: from a request to a score that is explained, recorded and can be traced. Nothing heavy is imported here."""
