"""Tables in open formats: snapshots, schemas, commits, reading, merging."""
