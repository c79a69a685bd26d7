"""Claims of the field that anyone can check: one file each, with the rule that decides it."""
