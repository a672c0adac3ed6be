"""Reader of image data for `digit-client` and `digit-trainer`: IDX, NumPy, tables, Parquet.

It imports neither gRPC nor TensorFlow. Errors are InputErrors of one line that names the file, the row and
the rule; changes (scaled pixels, transposed EMNIST) are lines in `ImageData.notes`.
"""

from clients.data.content import is_data_file
from clients.data.folder import Parts, read_parts, read_test
from clients.data.reader import ImageData, read, read_labels, read_pair

__all__ = [
    "ImageData",
    "Parts",
    "is_data_file",
    "read",
    "read_labels",
    "read_pair",
    "read_parts",
    "read_test",
]
