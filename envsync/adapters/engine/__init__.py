"""The Docker engine: building from Dockerfiles, and running images."""
