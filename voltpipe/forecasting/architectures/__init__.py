"""The trainable architectures, one a file, and the registry that names them."""
