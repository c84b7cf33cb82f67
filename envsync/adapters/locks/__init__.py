"""Lock files: conda-lock's and ours."""
