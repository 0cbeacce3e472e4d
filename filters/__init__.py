"""Built-in scorers, one idea a file. A new one is a file of about ten lines and a test; the core is untouched."""
