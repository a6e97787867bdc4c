// Every endpoint with `openid-client`, the client that most programs on Node.js use.

import * as client from 'openid-client'
import { read, settings, walk } from './steps.mjs'

const given = await settings()

// --- configuration: the pages show this part --- [configuration]
const server = new URL(given.issuer)
// `allowInsecureRequests` only for plain http on this machine: leave it out where the Server has TLS.
const how = { execute: [client.allowInsecureRequests] }

/** A Worker with an API key; `auth` is ClientSecretBasic or ClientSecretPost. */
async function byApiKey({ id, secret }, auth = client.ClientSecretBasic) {
  return client.discovery(server, id, undefined, auth(secret), how)
}

/** A Worker that enrolls itself: the enrollment key is its initial access token, its own key then proves who it is. */
async function enrolled(keys, name) {
  const { kty, crv, x, y } = await crypto.subtle.exportKey('jwk', keys.publicKey)
  const metadata = { client_name: name, jwks: { keys: [{ kty, crv, x, y }] } }
  const options = { ...how, initialAccessToken: given.initial_access_token }
  return client.dynamicClientRegistration(server, metadata, client.PrivateKeyJwt(keys.privateKey), options)
}
// --- [/configuration]

const keys = () => client.randomDPoPKeyPair('ES256', { extractable: true })
const own = await keys()
const fresh = await keys()
const wanted = { resource: given.resource.audience, scope: given.resource.scope }
const worker = await byApiKey(given.basic)
const asker = await byApiKey(given.asker)
let registered

/** The same registration with a different registration access token or key. */
function registration(metadata, auth) {
  const config = new client.Configuration(worker.serverMetadata(), metadata.client_id, metadata, auth)
  client.allowInsecureRequests(config)
  return config
}

async function manage(method, change) {
  const { registration_access_token: token, registration_client_uri: uri } = registered.clientMetadata()
  const headers = new Headers(change && { 'content-type': 'application/json' })
  const response = await client.fetchProtectedResource(
    registered, token, new URL(uri), method, change && JSON.stringify(change), headers,
  )
  return response.status === 204 ? { status: 204 } : { status: response.status, body: await response.json() }
}

await walk({
  discovery: async () => {
    const oidc = await client.discovery(server, given.basic.id, undefined, client.None(), { ...how, algorithm: 'oidc' })
    const oauth2 = await client.discovery(server, given.basic.id, undefined, client.None(), { ...how, algorithm: 'oauth2' })
    return oidc.serverMetadata().token_endpoint === oauth2.serverMetadata().token_endpoint
  },
  basic: async () => client.clientCredentialsGrant(worker),
  post: async () => client.clientCredentialsGrant(await byApiKey(given.post, client.ClientSecretPost)),
  wrong_secret: async () => client.clientCredentialsGrant(await byApiKey({ id: given.basic.id, secret: 'wrong' })),
  other_grant: async () => client.genericGrantRequest(worker, 'urn:example:other', {}),
  resource: async () => {
    const { access_token: accessToken, ...rest } = await client.clientCredentialsGrant(worker, wanted)
    return { ...rest, ...read(accessToken) }
  },
  other_resource: async () => client.clientCredentialsGrant(worker, { resource: 'https://other.example/' }),
  register: async () => {
    registered = await enrolled(own, given.name)
    return Object.keys(registered.clientMetadata()).sort()
  },
  private_key_jwt: async () => client.clientCredentialsGrant(registered),
  introspect: async () => client.tokenIntrospection(worker, (await client.clientCredentialsGrant(worker)).access_token),
  introspect_by_resource: async () => {
    const { access_token: accessToken } = await client.clientCredentialsGrant(registered, wanted)
    return client.tokenIntrospection(asker, accessToken)
  },
  revoke: async () => {
    const { access_token: accessToken } = await client.clientCredentialsGrant(registered)
    const before = await client.tokenIntrospection(registered, accessToken)
    await client.tokenRevocation(registered, accessToken)
    return [before.active, (await client.tokenIntrospection(registered, accessToken)).active]
  },
  dpop: async () => {
    const DPoP = client.getDPoPHandle(worker, await keys())
    // It takes the nonce from the first answer and retries by itself.
    const answer = await client.clientCredentialsGrant(worker, {}, { DPoP })
    const shown = async (options) => {
      const url = new URL(given.verify)
      return client
        .fetchProtectedResource(worker, answer.access_token, url, 'GET', undefined, new Headers(), options)
        .then((response) => response.status, (error) => error.status ?? error.cause?.status ?? error.message)
    }
    return { token_type: answer.token_type, with: await shown({ DPoP }), without: await shown({}) }
  },
  read: async () => manage('GET'),
  update: async () => {
    const { kty, crv, x, y } = await crypto.subtle.exportKey('jwk', fresh.publicKey)
    const { client_id, client_name } = registered.clientMetadata()
    const { status, body } = await manage('PUT', { client_id, client_name, jwks: { keys: [{ kty, crv, x, y }] } })
    const old = registered
    registered = registration(body, client.PrivateKeyJwt(fresh.privateKey))
    const refused = await client.clientCredentialsGrant(old).then(() => false, () => true)
    const { token_type } = await client.clientCredentialsGrant(registered)
    return { status, old_key_refused: refused, token_type }
  },
  delete: async () => manage('DELETE'),
  deleted: async () => client.clientCredentialsGrant(registered),
})
