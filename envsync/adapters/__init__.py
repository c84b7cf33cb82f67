"""All input and output, one module per thing outside."""
