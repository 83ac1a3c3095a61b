"""The jobs of the project as typed Python functions; every command is a thin shell over one of them."""
