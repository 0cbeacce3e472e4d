"""Store: files that exist only when they are complete, and what they were made from.

Reads and writes all names below one URL: parquet tables, tars, notes. Every wing below may import it.
"""
