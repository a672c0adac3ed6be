"""How many calls may be sent twice."""


class HedgeBudget:
    """Allow one hedge for every ten calls, and no more than ten in a burst.

    A server that is slow for everybody must not be given twice the work.
    """

    _BURST = 10.0
    _PER_CALL = 0.1

    def __init__(self) -> None:
        self._tokens = self._BURST

    def called(self) -> None:
        """Count a call."""
        self._tokens = min(self._BURST, self._tokens + self._PER_CALL)

    def take(self) -> bool:
        """Say whether a hedge may be sent now, and count it."""
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
