"""The version: here, because the façade `__init__.py` stands below every file that has to name it."""

__version__ = "0.1.0"
