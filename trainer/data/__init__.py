"""Labelled images of digits: where they come from and how they are split."""
