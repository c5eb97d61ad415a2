"""What can go wrong on one machine, said so that the user knows the way out."""


class LocalError(Exception):
    """Something this machine lacks or refuses. `way_out` tells what to do about it."""

    def __init__(self, problem: str, way_out: str) -> None:
        super().__init__(problem, way_out)
        self.problem, self.way_out = problem, way_out

    def __str__(self) -> str:
        return f"{self.problem}\n  -> {self.way_out}"
