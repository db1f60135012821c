"""Words: the specification's values, pure and without I/O."""
