"""Who: an actor, a decision, a Permit."""
