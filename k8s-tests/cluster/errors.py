"""What can go wrong outside our control, told with the way out."""


class ClusterError(Exception):
    """A condition the user can do something about; ``hint`` says what."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  try: {self.hint}" if self.hint else self.message
