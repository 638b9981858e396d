"""Untrusted bytes to Arrow tables under a contract, each record accepted or rejected with a reason."""
