"""Trainings and scores of a study, on this machine or on a cluster."""
