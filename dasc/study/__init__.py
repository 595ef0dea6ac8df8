"""Studies: many runs from one file, their table, and their figures."""
