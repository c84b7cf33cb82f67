"""HTTP: exchanges, connections, patience, and where connections may not go."""
