// `oauth4webapi` sends a service behind a proxy requests with a token that is bound to a key. Without `token` it gets one and
// prints it with the key; with `token` it sends a request, and repeats it with a nonce if the answer requires one.

import http from 'node:http'
import * as oauth from 'oauth4webapi'
import { settings } from './steps.mjs'

const given = await settings()
const client = { client_id: given.id }
const plain = { [oauth.allowInsecureRequests]: true }

async function getToken() {
  const issuer = new URL(given.issuer)
  const as = await oauth.processDiscoveryResponse(
    issuer,
    await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...plain }),
  )
  const pair = await oauth.generateKeyPair('ES256', { extractable: true })
  const DPoP = oauth.DPoP(client, pair)
  const ask = async () => {
    const auth = oauth.ClientSecretBasic(given.secret)
    const response = await oauth.clientCredentialsGrantRequest(as, client, auth, {}, { DPoP, ...plain })
    return oauth.processClientCredentialsResponse(as, client, response)
  }
  const answer = await ask().catch((error) => {
    if (!oauth.isDPoPNonceError(error)) throw error
    return ask()
  })
  const [publicKey, privateKey] = await Promise.all(
    [pair.publicKey, pair.privateKey].map((key) => crypto.subtle.exportKey('jwk', key)),
  )
  return { token: answer.access_token, publicKey, privateKey }
}

/** Send a request for the service's public URL to the proxy, as DNS and TLS would. */
function toProxy(url, { method, headers }) {
  const { host, pathname } = new URL(url)
  return new Promise((resolve, reject) => {
    const sent = { ...Object.fromEntries(new Headers(headers)), host, connection: 'close' }
    http
      .request({ host: '127.0.0.1', port: given.port, path: pathname, method, headers: sent }, (answer) => {
        const { rawHeaders, statusCode } = answer
        const pairs = rawHeaders.flatMap((name, i) => (i % 2 ? [] : [[name, rawHeaders[i + 1]]]))
        answer.resume().on('end', () => resolve(new Response(null, { status: statusCode, headers: pairs })))
      })
      .on('error', reject)
      .end()
  })
}

async function askService() {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256' }
  const [publicKey, privateKey] = await Promise.all([
    crypto.subtle.importKey('jwk', given.publicKey, algorithm, true, ['verify']),
    crypto.subtle.importKey('jwk', given.privateKey, algorithm, true, ['sign']),
  ])
  const DPoP = oauth.DPoP(client, { publicKey, privateKey })
  const options = { DPoP, [oauth.customFetch]: toProxy }
  const ask = () => oauth.protectedResourceRequest(given.token, 'GET', new URL(given.url), new Headers(), null, options)
  let nonceDemanded = false
  const answer = await ask().catch((error) => {
    if (!oauth.isDPoPNonceError(error)) throw error
    nonceDemanded = true
    return ask()
  })
  return { nonceDemanded, status: answer.status }
}

process.stdout.write(JSON.stringify(given.token ? await askService() : await getToken()))
