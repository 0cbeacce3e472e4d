"""Writers: the output formats. Nothing but plugins: a file for each, with a ``Writer`` named ``WRITER``.

``writer`` finds them by the names of their files. They know samples and files; what is packed they do not decide.
"""
