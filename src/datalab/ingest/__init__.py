"""From sources to bronze: contracts, decoding, positions."""
