"""medai: medical data to a trustworthy model, kept trustworthy.

A plain typed library: it knows nothing of Prefect and reads no environment. Start with ``medai/README.md``.
"""

__version__ = "0.1.0"
