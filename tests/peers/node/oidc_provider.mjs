// A third-party authorization server: `oidc-provider`, set up to do what ours does, in memory.

import { createServer } from 'node:http'
import { randomBytes } from 'node:crypto'
import { exportJWK, generateKeyPair } from 'jose'
import Provider, { errors } from 'oidc-provider'
import { settings } from './steps.mjs'

const given = await settings()
const { privateKey } = await generateKeyPair('ES256', { extractable: true })

const machine = { redirect_uris: [], response_types: [], grant_types: ['client_credentials'] }
const client = ({ id, secret }, method) => ({
  ...machine, client_id: id, client_secret: secret, token_endpoint_auth_method: method,
})

const provider = new Provider(given.issuer, {
  jwks: { keys: [{ ...(await exportJWK(privateKey)), alg: 'ES256', use: 'sig' }] },
  clients: [
    client(given.basic, 'client_secret_basic'),
    client(given.post, 'client_secret_post'),
    client(given.asker, 'client_secret_basic'),
  ],
  clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'private_key_jwt'],
  clientDefaults: { grant_types: ['client_credentials'], response_types: [], id_token_signed_response_alg: 'ES256' },
  enabledJWA: { clientAuthSigningAlgValues: ['ES256'] },
  cookies: { keys: ['only for tests'] },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    introspection: {
      enabled: true,
      // Like ours: a client may introspect its own tokens, and a resource those that are for it.
      allowedPolicy: (_ctx, caller, token) =>
        caller.clientId === token.clientId || (caller.clientId === given.asker.id && token.aud === given.resource.audience),
    },
    revocation: { enabled: true },
    registration: { enabled: true, initialAccessToken: given.initial_access_token },
    registrationManagement: { enabled: true, rotateRegistrationAccessToken: true },
    dPoP: { enabled: true, nonceSecret: randomBytes(32), requireNonce: () => true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (_ctx, resource) => {
        if (resource !== given.resource.audience) throw new errors.InvalidTarget()
        return { scope: given.resource.scopes, accessTokenFormat: 'jwt', jwt: { sign: { alg: 'ES256' } } }
      },
    },
  },
})

createServer(provider.callback()).listen(new URL(given.issuer).port, '127.0.0.1', () => console.log('ready'))
