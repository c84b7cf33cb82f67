"""Ways out: an environment as other tools have it, each format a pure function of spec and lock."""
