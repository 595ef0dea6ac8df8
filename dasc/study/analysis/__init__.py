"""Results, statistics, tables and figures of a study."""
