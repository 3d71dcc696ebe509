"""How sending can fail. Reasons are for the ledger: no address, no text of a message, no answer of a stranger."""


class SendingFailed(Exception):
    """Something was not sent; `reason` is a short sentence without personal data."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class Undeliverable(SendingFailed):
    """It never will be this way: the address is wrong, or nobody is there any more."""


class NotNow(SendingFailed):
    """It may be later; `retry_after` is in seconds where the other side named a time."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
