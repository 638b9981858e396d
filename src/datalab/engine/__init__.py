"""Who computes: the engine port and its adapters."""
