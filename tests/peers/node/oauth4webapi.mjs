// Every endpoint with `oauth4webapi`, the client with the most checks. The same steps run against another server
// (oidc_provider.mjs), so nothing here depends on the server.

import * as oauth from 'oauth4webapi'
import { read, settings, walk } from './steps.mjs'

const given = await settings()

// --- configuration: the pages show this part --- [configuration]
const issuer = new URL(given.issuer)
// Only for plain http on this machine: leave it out where the Server has TLS.
const http = { [oauth.allowInsecureRequests]: true }

const discovered = await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...http })
const as = await oauth.processDiscoveryResponse(issuer, discovered)

/** A token for `client`, checked as far as a client can check it. */
async function token(client, auth, parameters = {}, options = {}) {
  const response = await oauth.clientCredentialsGrantRequest(as, client, auth, parameters, { ...http, ...options })
  return oauth.processClientCredentialsResponse(as, client, response)
}

/** Whether the resource `audience` accepts the token (RFC 9068), and which claims it then reads. */
async function accepted(accessToken, audience, scheme = 'Bearer', proof = {}) {
  const request = new Request(audience, { headers: { authorization: `${scheme} ${accessToken}`, ...proof } })
  return oauth.validateJwtAccessToken(as, request, audience, http)
}
// --- [/configuration]

const basic = [{ client_id: given.basic.id }, oauth.ClientSecretBasic(given.basic.secret)]
const post = [{ client_id: given.post.id }, oauth.ClientSecretPost(given.post.secret)]
const asker = [{ client_id: given.asker.id }, oauth.ClientSecretBasic(given.asker.secret)]
const wanted = { resource: given.resource.audience, scope: given.resource.scope }

const keys = await oauth.generateKeyPair('ES256', { extractable: true })
const fresh = await oauth.generateKeyPair('ES256', { extractable: true })
let registered
let byKey

async function introspect([client, auth], accessToken) {
  const response = await oauth.introspectionRequest(as, client, auth, accessToken, http)
  return oauth.processIntrospectionResponse(as, client, response)
}

async function revoke([client, auth], accessToken) {
  return oauth.processRevocationResponse(await oauth.revocationRequest(as, client, auth, accessToken, http))
}

async function publicJwk(pair) {
  const { kty, crv, x, y } = await crypto.subtle.exportKey('jwk', pair.publicKey)
  return { kty, crv, x, y }
}

/** An assertion that is replayed: the same `jti` in all requests. */
function repeating(key) {
  return oauth.PrivateKeyJwt(key, { [oauth.modifyAssertion]: (_header, claims) => (claims.jti = given.once) })
}

/** A request about the client's own registration (RFC 7592). */
async function manage(method, change) {
  const headers = new Headers(change && { 'content-type': 'application/json' })
  const uri = new URL(registered.registration_client_uri)
  const body = change && JSON.stringify(change)
  const response = await oauth.protectedResourceRequest(
    registered.registration_access_token, method, uri, headers, body, http,
  )
  const found = response.status === 204 ? {} : await response.json()
  if (response.ok && found.registration_access_token) registered = { ...registered, ...found }
  return { status: response.status, error: found.error, fields: Object.keys(found).sort(), jwks: found.jwks }
}

await walk({
  metadata: async () => as,

  basic: async () => token(...basic),
  post: async () => token(...post),
  wrong_secret: async () => token(basic[0], oauth.ClientSecretBasic('wrong')),
  unknown_client: async () => token({ client_id: 'unknown-client' }, oauth.ClientSecretBasic('wrong')),
  wrong_secret_post: async () => token(post[0], oauth.ClientSecretPost('wrong')),
  other_grant: async () => {
    const response = await oauth.genericTokenEndpointRequest(as, ...basic, 'urn:example:other', {}, http)
    return oauth.processGenericTokenEndpointResponse(as, basic[0], response)
  },

  resource: async () => {
    const answer = await token(...basic, wanted)
    await accepted(answer.access_token, given.resource.audience)
    const { access_token: accessToken, ...rest } = answer
    return { ...rest, ...read(accessToken) }
  },
  resource_without_scope: async () => {
    const { access_token: accessToken, ...rest } = await token(...basic, { resource: wanted.resource })
    return rest
  },
  other_resource: async () => token(...basic, { resource: 'https://other.example/' }),
  other_scope: async () => token(...basic, { ...wanted, scope: 'admin' }),
  other_audience: async () => {
    const { access_token: accessToken } = await token(...basic, wanted)
    return accepted(accessToken, 'https://other.example/')
  },

  register: async () => {
    const response = await oauth.dynamicClientRegistrationRequest(
      as,
      { client_name: given.name, jwks: { keys: [await publicJwk(keys)] }, ...given.metadata },
      { initialAccessToken: given.initial_access_token, ...http },
    )
    registered = await oauth.processDynamicClientRegistrationResponse(response)
    byKey = [registered, oauth.PrivateKeyJwt(keys.privateKey)]
    return Object.keys(registered).sort()
  },
  register_without_initial_access_token: async () => {
    const response = await oauth.dynamicClientRegistrationRequest(as, { client_name: 'x', ...given.metadata }, http)
    return oauth.processDynamicClientRegistrationResponse(response)
  },
  register_secret_method: async () => {
    const asked = { client_name: 'x', jwks: { keys: [await publicJwk(fresh)] }, ...given.metadata }
    const response = await oauth.dynamicClientRegistrationRequest(
      as,
      { ...asked, token_endpoint_auth_method: 'client_secret_basic' },
      { initialAccessToken: given.initial_access_token, ...http },
    )
    return Object.keys(await oauth.processDynamicClientRegistrationResponse(response)).sort()
  },
  private_key_jwt: async () => token(...byKey),
  private_key_jwt_twice: async () => {
    await token(registered, repeating(keys.privateKey))
    return token(registered, repeating(keys.privateKey))
  },

  introspect_own: async () => introspect(basic, (await token(...basic)).access_token),
  introspect_by_resource: async () => introspect(asker, (await token(...basic, wanted)).access_token),
  introspect_of_another: async () => introspect(post, (await token(...byKey)).access_token),
  introspect_nonsense: async () => introspect(basic, 'nonsense'),
  introspect_unauthenticated: async () => introspect([basic[0], oauth.ClientSecretBasic('wrong')], 'nonsense'),
  revoke: async () => {
    const { access_token: accessToken } = await token(...basic)
    const before = await introspect(basic, accessToken)
    await revoke(basic, accessToken)
    return [before.active, (await introspect(basic, accessToken)).active]
  },
  revoke_resource_token: async () => {
    const { access_token: accessToken } = await token(...basic, wanted)
    await revoke(basic, accessToken)
    return (await introspect(asker, accessToken)).active
  },
  revoke_of_another: async () => {
    const { access_token: accessToken } = await token(...basic)
    await revoke(byKey, accessToken)
    return (await introspect(basic, accessToken)).active
  },
  revoke_nonsense: async () => revoke(basic, 'nonsense'),

  dpop: async () => {
    const pair = await oauth.generateKeyPair('ES256', { extractable: true })
    const DPoP = oauth.DPoP(basic[0], pair)
    let retried = false
    const answer = await token(...basic, given.verify ? {} : wanted, { DPoP }).catch((error) => {
      if (!oauth.isDPoPNonceError(error)) throw error
      retried = true
      return token(...basic, given.verify ? {} : wanted, { DPoP })
    })
    const found = { retried, token_type: answer.token_type, cnf: read(answer.access_token).claims.cnf }
    if (!given.verify) return found
    const shown = async (options) => {
      const url = new URL(given.verify)
      return oauth
        .protectedResourceRequest(answer.access_token, 'GET', url, new Headers(), null, { ...http, ...options })
        .then((response) => response.status, (error) => error.response?.status ?? error.status ?? error.message)
    }
    const thief = oauth.DPoP(basic[0], await oauth.generateKeyPair('ES256'))
    return { ...found, with: await shown({ DPoP }), without: await shown({}), stolen: await shown({ DPoP: thief }) }
  },
  dpop_at_resource: async () => {
    const DPoP = oauth.DPoP(basic[0], await oauth.generateKeyPair('ES256'))
    const ask = () => token(...basic, wanted, { DPoP })
    const { access_token: accessToken } = await ask().catch(ask)
    const url = new URL(given.resource.audience)
    let proof
    // Nothing is sent to the resource, which does not exist; the request is only captured.
    const kept = { [oauth.customFetch]: async (_url, { headers }) => ((proof = headers.dpop), new Response()) }
    await oauth.protectedResourceRequest(accessToken, 'GET', url, new Headers(), null, { DPoP, ...kept })
    const claims = await accepted(accessToken, given.resource.audience, 'DPoP', { dpop: proof })
    return Boolean(claims.cnf.jkt)
  },
  dpop_introspected: async () => {
    const DPoP = oauth.DPoP(basic[0], await oauth.generateKeyPair('ES256'))
    const ask = () => token(...basic, {}, { DPoP })
    const { access_token: accessToken } = await ask().catch(ask)
    const { active, token_type: type, cnf } = await introspect(basic, accessToken)
    return { active, token_type: type, bound: Boolean(cnf?.jkt) }
  },

  read: async () => manage('GET'),
  update: async () => {
    const { client_id, client_name } = registered
    const change = { client_id, client_name, jwks: { keys: [await publicJwk(fresh)] }, ...given.metadata }
    return manage('PUT', change)
  },
  old_key: async () => token(...byKey),
  new_key: async () => token(registered, oauth.PrivateKeyJwt(fresh.privateKey)),
  update_of_another: async () => manage('PUT', { client_id: 'unknown-client', client_name: given.name, ...given.metadata }),
  delete: async () => manage('DELETE'),
  deleted: async () => token(registered, oauth.PrivateKeyJwt(fresh.privateKey)),
  read_deleted: async () => manage('GET'),
})
