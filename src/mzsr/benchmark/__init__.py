"""METHODS × PICTURES → TABLES: the papers' tables and everyone else's, every number with its protocol."""
