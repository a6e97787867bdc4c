"""
Rotates the identity key in the Worker's directory; the Server's part is in `server.admission.identity_key_rotation`.

    1. the next key is on disk                     the current key is valid
    2. the Server has registered it                both are valid
    3. its file has replaced the current key's     both are valid
    4. a token was issued for it                   the new key is valid; the old one has ended

Killed at any point, the next start uses the key in the current key's file, which is valid. The Server asks again until step 4.
"""

from lyftdata.client.credentials import Credential, IdentityCredential
from lyftdata.worker.client import ServerClient
from lyftdata.worker.identity.state import StateDirectory


async def rotate_identity_key(
    credential: Credential, directory: StateDirectory, client: ServerClient
) -> Credential:
    """
    Return the credential with a new identity key, which has been stored in the directory; an API key stays as it is.

    Raises:
        StateError: The directory cannot be written.
        ServerUnreachableError, RefusedByServerError: The Server has not registered the key.
    """
    if not isinstance(credential, IdentityCredential):
        return credential
    key = directory.load_or_make_rotated_key()
    await client.register_next_key(credential, key.public)
    directory.adopt_rotated_key()
    return credential.with_key(key)
