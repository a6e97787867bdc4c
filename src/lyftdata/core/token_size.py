"""
How long a worker token may be, and how much of it each part may take.

Every check refuses a token of more than MAX_TOKEN_LENGTH characters. So each part that somebody can choose has a limit of
its own, enforced where it is stored, and the limits together fit into one token: whatever may be stored makes a token
that verifies. `tests/unit/core/test_token_size.py` adds the largest of each part up; docs/decisions/0020 says why 4,096.
"""

MAX_TOKEN_LENGTH = 4096
MAX_ISSUER_LENGTH = 256
MAX_LABELS_BYTES = 1024
"""All labels of a Worker together, as JSON; the one-line form, which is what a header carries, is never longer."""
MAX_RESOURCE_LENGTH = 900
"""A resource's audience and its scopes, separated by spaces, together."""
