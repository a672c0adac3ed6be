"""The evidence that goes with a model: numbers for programs, pictures for people."""
