"""Where things came from and where they went: columns through flows, rows through tables, scores to their records."""
