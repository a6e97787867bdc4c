"""
Rotates the identity key in the Worker's directory; the Server's part is in `server.admission.identity_key_rotation`.

    1. the next key is on the disk            the current key is good
    2. the Server has kept it                 both are good
    3. it has the name of the current key     both are good
    4. a token was got by it                  the new key is good; the one before has ended

Killed at any point, the next start uses the key that has the name, which is good. The Server asks again until step 4.
"""

from lyftdata.client.credentials import Credential, IdentityCredential
from lyftdata.worker.client import ServerClient
from lyftdata.worker.identity.state import StateDirectory


async def rotate_identity_key(
    credential: Credential, directory: StateDirectory, client: ServerClient
) -> Credential:
    """
    Return the credential with another identity key, which is in the directory by then; an API key stays as it is.

    Raises:
        StateError: The directory cannot be written.
        ServerUnreachableError, RefusedByServerError: The Server has not kept the key.
    """
    if not isinstance(credential, IdentityCredential):
        return credential
    key = directory.load_or_make_rotated_key()
    await client.register_next_key(credential, key.public)
    directory.adopt_rotated_key()
    return credential.with_key(key)
