"""A page to draw digits on."""
