"""Git: trees to read, records to read and write, clones of our own; the working folder."""
