"""The protocols that a client can speak, by the names that Connection knows them by."""

from clients.open_inference import OPEN_INFERENCE_WIRE
from clients.wire import DIGITS_WIRE, Wire

WIRES: dict[str, Wire] = {"digits": DIGITS_WIRE, "open-inference": OPEN_INFERENCE_WIRE}
