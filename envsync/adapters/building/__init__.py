"""Building: packages fetched and read, and what builds keep on this machine."""
