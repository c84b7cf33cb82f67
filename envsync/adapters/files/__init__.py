"""Files: written whole or not at all; YAML read strictly and edited gently."""
