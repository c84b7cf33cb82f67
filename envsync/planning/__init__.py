"""Pure comparison of what git asks for with what the registry holds."""
