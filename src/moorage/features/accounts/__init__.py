"""Users, organisations, teams, robots, tokens and rules: the deeds, one module a noun."""
