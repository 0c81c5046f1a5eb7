"""Facts about declared types of parameters and results, read from annotations and from Pydantic's core schemas."""
