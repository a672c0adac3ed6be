"""The wire contract: `.proto` files and the Python generated from them (`make protos`)."""
