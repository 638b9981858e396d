"""Tables kept healthy: files of a good size, old snapshots and orphans gone, and nothing that somebody needs."""
