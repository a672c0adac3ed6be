"""The one reader of image data for `digit-client` and `digit-trainer`: IDX, NumPy, tables, Parquet.

No gRPC and no TensorFlow in here. What cannot be read is an InputError of one line: the file, the row, the
rule; what was changed while reading (pixels scaled, EMNIST turned) is a line in `ImageData.notes`.
"""

from clients.data.folder import Parts, read_parts, read_test
from clients.data.reader import ImageData, is_data_file, read, read_labels, read_pair

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
