"""Real servers on this machine, without containers: fetched, started, watched and ended from their descriptions."""
