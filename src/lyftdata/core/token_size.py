"""
Limits the length of a worker token, and of each part of it.

Every check refuses a token of more than MAX_TOKEN_LENGTH characters, which bounds the work that an unproven caller can cause.
So each part that a Worker or an operator can choose has its own limit, enforced where it is stored, and all parts together
fit into one token: otherwise a Worker could choose labels with which all its tokens are refused.
`tests/unit/core/test_token_size.py` adds up the maximum of each part; docs/decisions/0020 says why 4,096.
"""

MAX_TOKEN_LENGTH = 4096
MAX_ISSUER_LENGTH = 256
MAX_LABELS_BYTES = 1024
"""All labels of a Worker together, as JSON; the one-line form in headers is never longer."""
MAX_RESOURCE_LENGTH = 900
"""A resource's audience and its scopes, separated by spaces, together."""
