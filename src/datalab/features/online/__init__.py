"""Online stores: the newest features of each entity, by key, for the server."""
