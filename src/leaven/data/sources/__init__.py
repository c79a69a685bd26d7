"""Readers: one file reads one form of data (folders, tables, lines of text, arrays, Hugging Face data sets, named data sets)."""
