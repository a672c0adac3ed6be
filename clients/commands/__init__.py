"""The commands of `digit-client`."""
