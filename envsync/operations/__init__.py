"""The verbs of envsync; effects only through ports."""
