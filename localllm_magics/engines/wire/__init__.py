"""What servers stream, decoded from bytes that may be cut anywhere."""
