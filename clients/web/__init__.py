"""The web pages to draw and label digits."""
