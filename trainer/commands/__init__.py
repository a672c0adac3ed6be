"""The commands of `digit-trainer`."""
