"""What a study file says: its axes, its runs, and the stages that they share."""
