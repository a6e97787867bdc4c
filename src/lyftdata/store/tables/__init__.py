"""The tables, one module for each noun: how records are read and written."""
