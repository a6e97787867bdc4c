"""Diagnoses the set-up of a Worker's or Server's host: `lyftdata doctor`."""
