"""Measuring models: metrics computed by well-kept libraries, and results of the same type as published ones."""
