"""Trainings whose results are compared: one grid of cells on disk, under `compare` and `reproduce`; claims/: one file is one claim."""
