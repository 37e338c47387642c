"""Columns of rows on their way: values as `metrics.snapshot` has them, and as the engine takes and gives them."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from streams.core.metrics import Array, Metric

_READ = {"Nullable(Date)": "ifNull(toInt32({0}), -1)", "DateTime64(3, 'UTC')": "toUnixTimestamp64Milli({0})"}


def as_written(metric: Metric, values: Array) -> pa.Array:
    """A metric's values as its column takes them."""
    if metric.type == "Nullable(Float64)":
        return pa.array(values, pa.float64(), from_pandas=True)
    if metric.type == "Nullable(Date)":
        return pa.array(values.astype(np.int32), pa.date32(), mask=values < 0)
    if metric.type.startswith("DateTime64"):
        return pa.array(values, pa.timestamp("ms", "UTC"))
    if "String" in metric.type:
        return pa.array(values, pa.string())
    return pa.array(values.astype({"UInt32": np.uint32, "UInt8": np.uint8, "Int64": np.int64}[metric.type]))


def as_read(metric: Metric) -> str:
    """The expression that reads a metric's column as the values that it was made of."""
    return _READ.get(metric.type, "{0}").format(metric.name)


def values_of(column: pa.ChunkedArray) -> Array:
    """The values of a column that was read."""
    values: Array = column.to_numpy()
    return values.astype(np.int64) if values.dtype.kind in "iu" else values


def repeated(values: Sequence[str], sizes: Sequence[int]) -> pa.DictionaryArray:
    """Each value so many times, as a dictionary: an account's rows repeat its id, accounts their marketplace."""
    each = pa.array(values, pa.string()).dictionary_encode()
    indices = np.repeat(each.indices.to_numpy(), sizes)
    return pa.DictionaryArray.from_arrays(indices, each.dictionary)
