"""What the declared types of parameters and results say, read from annotations and Pydantic's schemas."""
