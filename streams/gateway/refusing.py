"""Why a request is not taken: the one exception of the gateway, and the answer that it becomes."""


class NotTaken(Exception):
    """A request ends with this status and these words, which repeat nothing of what was sent."""

    def __init__(self, status: int, words: str, *, retry_s: float | None = None) -> None:
        super().__init__(words)
        self.status, self.words, self.retry_s = status, words, retry_s
