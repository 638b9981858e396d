"""Features: one definition, the gold query; served for now by the online store, computed for a moment in training."""
