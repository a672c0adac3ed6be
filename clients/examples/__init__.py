"""Ten lines each, to copy from. The tests run them."""
