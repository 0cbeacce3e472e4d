"""The demo: a drawn world and small corpora made of it. Reads no network and imports no model."""
