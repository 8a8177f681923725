"""The command line. Each command group is one file; `main` puts them together.

Nothing heavy is imported at the top of these files: `loadplan --help` answers before rich,
SQLAlchemy, aiohttp or torch have been read. This is the only package that may import api and
workers, and only inside a command.
"""
