"""Ledger: what is made from what: jobs and their files, which of them are fresh, and what they are made from.

Reads and writes notes and listings; knows no stage. Every wing below may import it.
"""
