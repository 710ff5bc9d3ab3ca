"""Experiment: one experiment from one YAML file, in one run folder."""
