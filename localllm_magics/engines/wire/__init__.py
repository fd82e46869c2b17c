"""The formats that servers stream, decoded from bytes that may be split anywhere."""
