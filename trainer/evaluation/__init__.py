"""How good a model is, measured on images that it was never trained on."""
