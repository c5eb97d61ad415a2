"""Tables of numpy columns: what a batch is made of."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Where = npt.NDArray[np.bool_] | npt.NDArray[np.integer[Any]] | slice
"""A mask, positions or a range of rows."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Base of frozen dataclasses whose fields are columns of shape (n,)."""

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    def take(self, where: Where) -> Self:
        """The selected rows. An array that stands for several columns stays one."""
        columns = [getattr(self, f.name) for f in fields(self)]
        taken = {id(column): column[where] for column in columns}
        return type(self)(*(taken[id(column)] for column in columns))

    @classmethod
    def concat(cls, parts: Iterable[Self]) -> Self:
        """One batch of many, in order; at least one is needed to know the columns' types."""
        parts = list(parts)
        filled = [part for part in parts if len(part)] or parts[:1]
        if len(filled) == 1:
            return filled[0]
        return cls(*(np.concatenate([getattr(p, f.name) for p in filled]) for f in fields(cls)))

    @classmethod
    def of_dtypes(cls, *dtypes: Any) -> Self:
        """No rows."""
        return cls(*(np.empty(0, dtype) for dtype in dtypes))
